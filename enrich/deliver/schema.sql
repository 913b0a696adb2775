-- What a deliver.Postgres keeps. It may be run any number of times.

-- The effects that were done, each in the transaction of its mark.
create table if not exists deliver_done (
  consumer text not null,
  key text not null,
  at timestamptz not null default now(),
  primary key (consumer, key)
);

-- How far each consumer came.
create table if not exists deliver_position (
  consumer text primary key,
  position text not null,
  at timestamptz not null default now()
);

-- What was given up, with the reason.
create table if not exists deliver_letter (
  consumer text not null,
  key text not null,
  position text not null,
  reason text not null,
  attempts integer not null,
  value bytea,
  at timestamptz not null,
  primary key (consumer, key)
);

-- They are none of the project's API.
alter table deliver_done enable row level security;
alter table deliver_position enable row level security;
alter table deliver_letter enable row level security;
