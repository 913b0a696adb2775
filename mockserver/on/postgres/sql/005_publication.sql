-- Realtime gives wal2json the names of supabase_realtime's tables, and nothing
-- else. pgoutput, by which this server reads the log, obeys row filters, column
-- lists and publish_via_partition_root, too. So it reads a publication of its own:
-- the same tables without any of that. A table that is published by its root has
-- no rows of its own, and nothing of it is sent.
--
-- pgoutput leaves out generated columns, and so an old key that is one. A table
-- with such a key gets the replica identity full, from which the key is computed,
-- and is marked by another publication, which nobody reads.

do $$
begin
	if not exists (select from pg_publication where pubname = 'supabase_realtime_mockserver') then
		create publication supabase_realtime_mockserver;
	end if;
	if not exists (select from pg_publication where pubname = 'supabase_realtime_mockserver_keys') then
		create publication supabase_realtime_mockserver_keys with (publish = 'insert');
	end if;
end $$;

create or replace function realtime.mockserver_publish() returns void language plpgsql security definer set search_path = pg_catalog as $$
declare
	actions text;
	t record;
begin
	for t in
		with wanted as (
			select c.oid from pg_publication_tables p
			join pg_namespace n on n.nspname = p.schemaname join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
			where p.pubname = 'supabase_realtime' and c.relkind = 'r'
		), has as (
			select r.prrelid as oid from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where p.pubname = 'supabase_realtime_mockserver'
		)
		select oid::regclass as name, wanted.oid is not null as wanted from wanted full join has using (oid) where wanted.oid is null or has.oid is null
	loop
		begin
			execute format('alter publication supabase_realtime_mockserver %s table only %s', case when t.wanted then 'add' else 'drop' end, t.name);
		exception when duplicate_object or undefined_object or unique_violation then
			null; -- another session did it
		end;
	end loop;

	select concat_ws(', ', case when pubinsert then 'insert' end, case when pubupdate then 'update' end, case when pubdelete then 'delete' end)
	into actions from pg_publication where pubname = 'supabase_realtime';
	if not exists (select from pg_publication where pubname = 'supabase_realtime_mockserver'
		and concat_ws(', ', case when pubinsert then 'insert' end, case when pubupdate then 'update' end, case when pubdelete then 'delete' end) = coalesce(actions, '')) then
		execute format('alter publication supabase_realtime_mockserver set (publish = %L)', coalesce(actions, ''));
	end if;

	for t in
		select c.oid, c.oid::regclass as name from pg_publication p join pg_publication_rel r on r.prpubid = p.oid join pg_class c on c.oid = r.prrelid
		where p.pubname = 'supabase_realtime_mockserver' and c.relreplident = 'd' and exists (
			select from pg_index i join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
			where i.indrelid = c.oid and i.indisprimary and a.attgenerated = 's')
	loop
		execute format('alter table only %s replica identity full', t.name);
		if not exists (select from pg_publication p join pg_publication_rel r on r.prpubid = p.oid
			where p.pubname = 'supabase_realtime_mockserver_keys' and r.prrelid = t.oid) then
			execute format('alter publication supabase_realtime_mockserver_keys add table only %s', t.name);
		end if;
	end loop;
end $$;

create or replace function realtime.mockserver_on_ddl() returns event_trigger language plpgsql security definer set search_path = pg_catalog as $$
declare
	t record;
begin
	-- Who asks for the identity full gets it.
	if tg_tag = 'ALTER TABLE' and current_query() ~* 'replica\s+identity\s+full' then
		for t in
			select c.objid::regclass as name from pg_event_trigger_ddl_commands() c
			join pg_publication_rel r on r.prrelid = c.objid join pg_publication p on p.oid = r.prpubid
			where c.classid = 'pg_class'::regclass and c.objsubid = 0 and p.pubname = 'supabase_realtime_mockserver_keys'
		loop
			execute format('alter publication supabase_realtime_mockserver_keys drop table only %s', t.name);
		end loop;
	end if;
	perform realtime.mockserver_publish();
end $$;

create or replace function realtime.mockserver_on_drop() returns event_trigger language plpgsql security definer set search_path = pg_catalog as $$
begin
	perform realtime.mockserver_publish();
end $$;

revoke execute on function realtime.mockserver_publish() from public;

drop event trigger if exists mockserver_ddl;
create event trigger mockserver_ddl on ddl_command_end execute function realtime.mockserver_on_ddl();
alter event trigger mockserver_ddl enable always;
drop event trigger if exists mockserver_drop;
create event trigger mockserver_drop on sql_drop execute function realtime.mockserver_on_drop();
alter event trigger mockserver_drop enable always;
