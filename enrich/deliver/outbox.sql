-- An outbox for deliver.Outbox. It may be run any number of times. A transaction
-- inserts lane and body along with what it writes else; the other columns are the
-- Outbox's. A table of your own needs the columns from done_at on, and the indexes.
create table if not exists outbox (
  id bigint generated always as identity primary key,
  lane text,             -- rows of one lane are handled one after the other; null: a lane of its own
  body jsonb not null,
  made_at timestamptz not null default clock_timestamp(),
  done_at timestamptz,   -- set in the transaction of the effect, or when the row is buried
  held_by text,          -- the reader that has claimed the row
  attempts integer,
  buried text            -- why the row was given up
);
create index if not exists outbox_open on outbox (id) where done_at is null;
create index if not exists outbox_lane on outbox (lane, id) where done_at is null;
create index if not exists outbox_held on outbox (held_by) where done_at is null;

-- Until when each reader has what it has claimed, unless it says so again.
create table if not exists deliver_reader (
  id text primary key,
  until timestamptz not null
);

-- They are none of the project's API.
alter table outbox enable row level security;
alter table deliver_reader enable row level security;
