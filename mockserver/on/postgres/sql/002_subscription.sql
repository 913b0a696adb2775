-- The table in which Realtime keeps who is subscribed. The server writes it for
-- whoever wants to look; changes are matched with what it has in memory. Where
-- there is a table already, a Realtime is at work on it, and it is left alone.

do $$
begin
	if to_regclass('realtime.subscription') is not null then
		return;
	end if;

	if to_regtype('realtime.action') is null then
		create type realtime.action as enum ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'ERROR');
	end if;
	if to_regtype('realtime.equality_op') is null then
		create type realtime.equality_op as enum (
			'eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in', 'like', 'ilike', 'is', 'match', 'imatch', 'isdistinct');
	end if;
	if to_regtype('realtime.user_defined_filter') is null then
		create type realtime.user_defined_filter as (column_name text, op realtime.equality_op, value text, negate boolean);
	end if;

	create or replace function realtime.to_regrole(role_name text) returns regrole language sql immutable as
		'select quote_ident(role_name)::regrole';

	create table realtime.subscription (
		id bigint generated always as identity primary key,
		subscription_id uuid not null, -- of a binding, which has a row for each table that its names fit
		entity regclass not null,
		filters realtime.user_defined_filter[] not null default '{}',
		claims jsonb not null,
		claims_role regrole not null generated always as (realtime.to_regrole(claims ->> 'role')) stored,
		created_at timestamp not null default (now() at time zone 'utc'),
		action_filter text not null default '*' check (action_filter in ('*', 'INSERT', 'UPDATE', 'DELETE')),
		selected_columns text[],
		unique (subscription_id, entity)
	);
	create index subscription_entity on realtime.subscription (entity);
	comment on table realtime.subscription is 'kept by the mock server';
	grant select on realtime.subscription to anon, authenticated, service_role;
end $$;
