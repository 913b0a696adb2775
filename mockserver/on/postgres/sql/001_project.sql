-- What a Supabase project has and a PostgreSQL has not, as far as Realtime,
-- the REST API and sign-in need it. Whatever is there already is kept.

do $$
declare
	name text;
begin
	foreach name in array array['anon', 'authenticated', 'service_role'] loop
		if not exists (select from pg_roles where rolname = name) then
			begin
				execute format('create role %I nologin noinherit', name);
			exception when duplicate_object or unique_violation then
				null; -- a server on another database of the cluster was faster
			end;
		end if;
	end loop;
	alter role service_role bypassrls;
end $$;

-- Tables are open to the roles, and row level security is what closes them.
grant usage on schema public to anon, authenticated, service_role;
grant all on all tables in schema public to anon, authenticated, service_role;
grant all on all sequences in schema public to anon, authenticated, service_role;
grant all on all routines in schema public to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant all on routines to anon, authenticated, service_role;

-- Sign-in.

create schema if not exists auth;
grant usage on schema auth to anon, authenticated, service_role;

create table if not exists auth.users (
	id uuid primary key default gen_random_uuid(),
	aud varchar(255) default 'authenticated',
	role varchar(255) default 'authenticated',
	email varchar(255),
	phone text,
	encrypted_password varchar(255),
	email_confirmed_at timestamptz default now(),
	phone_confirmed_at timestamptz,
	last_sign_in_at timestamptz,
	raw_app_meta_data jsonb not null default '{}',
	raw_user_meta_data jsonb not null default '{}',
	created_at timestamptz not null default now(),
	updated_at timestamptz not null default now(),
	constraint users_email_key unique (email),
	constraint users_phone_key unique (phone)
);

create table if not exists auth.sessions (
	id uuid primary key default gen_random_uuid(),
	user_id uuid not null references auth.users on delete cascade,
	created_at timestamptz not null default now()
);

-- Of a token there is its hash; whoever reads the table cannot use it.
create table if not exists auth.refresh_tokens (
	token bytea primary key,
	session_id uuid not null references auth.sessions on delete cascade,
	revoked boolean not null default false,
	created_at timestamptz not null default now()
);

create or replace function auth.jwt() returns jsonb language sql stable as $$
	select coalesce(nullif(current_setting('request.jwt.claim', true), ''), nullif(current_setting('request.jwt.claims', true), ''))::jsonb
$$;

create or replace function auth.uid() returns uuid language sql stable as $$
	select coalesce(nullif(current_setting('request.jwt.claim.sub', true), ''), auth.jwt() ->> 'sub')::uuid
$$;

create or replace function auth.role() returns text language sql stable as $$
	select coalesce(nullif(current_setting('request.jwt.claim.role', true), ''), auth.jwt() ->> 'role')
$$;

create or replace function auth.email() returns text language sql stable as $$
	select coalesce(nullif(current_setting('request.jwt.claim.email', true), ''), auth.jwt() ->> 'email')
$$;

-- Realtime.

create schema if not exists realtime;
grant usage on schema realtime to anon, authenticated, service_role;

-- A real project has a partition for each day; here old rows are deleted.
create table if not exists realtime.messages (
	id uuid not null default gen_random_uuid(),
	topic text not null,
	extension text not null,
	payload jsonb,
	binary_payload bytea,
	event text,
	private boolean default false,
	updated_at timestamp not null default (now() at time zone 'utc'),
	inserted_at timestamp not null default (now() at time zone 'utc'),
	primary key (id, inserted_at)
);
create index if not exists messages_topic_inserted_at on realtime.messages (topic, inserted_at);
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;

create or replace function realtime.topic() returns text language sql stable as $$
	select nullif(current_setting('realtime.topic', true), '')
$$;

-- A message that cannot be sent must not make the writer's transaction fail:
-- it is a warning, and lost.
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
	returns void language plpgsql set search_path = '' as $$
declare
	message_id uuid := gen_random_uuid();
begin
	if jsonb_typeof(payload) is distinct from 'object' then
		raise exception 'the payload is no object';
	end if;
	if not payload ? 'id' then
		payload := payload || jsonb_build_object('id', message_id);
	end if;
	perform set_config('realtime.topic', topic, true);
	insert into realtime.messages (id, payload, event, topic, private, extension)
		values (message_id, payload, event, topic, private, 'broadcast');
exception when others then
	raise warning 'realtime.send: %', sqlerrm;
end $$;

create or replace function realtime.send_binary(payload bytea, event text, topic text, private boolean default true)
	returns void language plpgsql set search_path = '' as $$
begin
	perform set_config('realtime.topic', topic, true);
	insert into realtime.messages (binary_payload, event, topic, private, extension)
		values (payload, event, topic, private, 'broadcast');
exception when others then
	raise warning 'realtime.send_binary: %', sqlerrm;
end $$;

create or replace function realtime.broadcast_changes(
	topic_name text, event_name text, operation text, table_name text, table_schema text,
	new record, old record, level text default 'ROW'
) returns void language plpgsql set search_path = '' as $$
begin
	if level = 'STATEMENT' then
		raise exception 'function can only be triggered for each row, not for each statement';
	end if;
	perform realtime.send(
		jsonb_build_object(
			'schema', table_schema, 'table', table_name, 'operation', operation,
			'record', case when operation <> 'DELETE' then to_jsonb(new) end,
			'old_record', case when operation <> 'INSERT' then to_jsonb(old) end
		),
		event_name, topic_name, true);
end $$;

do $$
begin
	if not exists (select from pg_publication where pubname = 'supabase_realtime') then
		create publication supabase_realtime;
	end if;
	if not exists (select from pg_publication where pubname = 'supabase_realtime_messages_publication') then
		create publication supabase_realtime_messages_publication for table realtime.messages with (publish = 'insert');
	end if;
end $$;
