-- The login role of the REST API's sessions, which has no right but to act as the
-- API's roles, and the statement timeouts of these, as a project has them.
-- Statements that change roles fail where another server does it at the same
-- time, which then has done it.

do $$
declare
	name text;
	login text := 'authenticator';
begin
	if exists (select from pg_roles where rolname = login)
		and shobj_description((select oid from pg_roles where rolname = login), 'pg_authid') is distinct from 'made by the mock server' then
		login := 'mockserver_authenticator'; -- the other one is a project's, whose password is not ours
	end if;
	if not exists (select from pg_roles where rolname = login) then
		begin
			execute format('create role %I login noinherit', login);
			execute format('comment on role %I is ''made by the mock server''', login);
		exception when duplicate_object or unique_violation or internal_error then null;
		end;
	end if;
	foreach name in array array['anon', 'authenticated', 'service_role'] loop
		if not pg_has_role(login, name, 'member') then
			begin
				execute format('grant %I to %I', name, login);
			exception when duplicate_object or unique_violation or internal_error then null;
			end;
		end if;
	end loop;
	foreach name in array array['anon:3s', 'authenticated:8s', login || ':8s'] loop
		if not exists (select from pg_roles, unnest(rolconfig) setting
			where rolname = split_part(name, ':', 1) and setting like 'statement_timeout=%') then
			begin
				execute format('alter role %I set statement_timeout = %L', split_part(name, ':', 1), split_part(name, ':', 2));
			exception when unique_violation or internal_error then null;
			end;
		end if;
	end loop;
	execute format('grant connect on database %I to %I', current_database(), login);
exception when internal_error then null;
end $$;
