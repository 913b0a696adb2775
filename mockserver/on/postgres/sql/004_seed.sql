-- What the seed files of projects fill and call: the other columns of auth.users,
-- auth.identities, and the schema extensions with crypt, gen_salt and the UUID
-- functions. Nothing of the server depends on them.

alter table auth.users
	add column if not exists instance_id uuid,
	add column if not exists invited_at timestamptz,
	add column if not exists confirmation_token varchar(255) default '',
	add column if not exists confirmation_sent_at timestamptz,
	add column if not exists recovery_token varchar(255) default '',
	add column if not exists recovery_sent_at timestamptz,
	add column if not exists email_change_token_new varchar(255) default '',
	add column if not exists email_change varchar(255) default '',
	add column if not exists email_change_sent_at timestamptz,
	add column if not exists is_super_admin boolean,
	add column if not exists phone_change text default '',
	add column if not exists phone_change_token varchar(255) default '',
	add column if not exists phone_change_sent_at timestamptz,
	add column if not exists email_change_token_current varchar(255) default '',
	add column if not exists email_change_confirm_status smallint default 0,
	add column if not exists banned_until timestamptz,
	add column if not exists reauthentication_token varchar(255) default '',
	add column if not exists reauthentication_sent_at timestamptz,
	add column if not exists is_sso_user boolean not null default false,
	add column if not exists deleted_at timestamptz,
	add column if not exists is_anonymous boolean not null default false;

-- Seed files insert NULL metadata, which reads as an empty object.
create or replace function auth.fill_user() returns trigger language plpgsql set search_path = '' as $$
begin
	new.raw_app_meta_data := coalesce(new.raw_app_meta_data, '{}');
	new.raw_user_meta_data := coalesce(new.raw_user_meta_data, '{}');
	new.created_at := coalesce(new.created_at, pg_catalog.now());
	new.updated_at := coalesce(new.updated_at, pg_catalog.now());
	return new;
end $$;

do $$
begin
	-- A project's own table has no constraint of that name, and is left alone.
	if exists (select from pg_constraint where conrelid = 'auth.users'::regclass and conname = 'users_email_key') then
		create or replace trigger fill_user before insert or update on auth.users for each row execute function auth.fill_user();
	end if;
	if not exists (select from pg_attribute where attrelid = 'auth.users'::regclass and attname = 'confirmed_at') then
		alter table auth.users add column confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored;
	end if;
end $$;

create table if not exists auth.identities (
	id uuid primary key default gen_random_uuid(),
	provider_id text not null,
	user_id uuid not null references auth.users on delete cascade,
	identity_data jsonb not null,
	provider text not null,
	last_sign_in_at timestamptz,
	created_at timestamptz default now(),
	updated_at timestamptz default now(),
	email text generated always as (lower(identity_data ->> 'email')) stored,
	unique (provider_id, provider)
);

create schema if not exists extensions;
grant usage on schema extensions to anon, authenticated, service_role;

do $$
declare
	wanted text;
begin
	foreach wanted in array array['pgcrypto', 'uuid-ossp'] loop
		if exists (select from pg_available_extensions a where a.name = wanted)
			and not exists (select from pg_extension where extname = wanted) then
			execute format('create extension %I with schema extensions', wanted);
		end if;
	end loop;
end $$;
