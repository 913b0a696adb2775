-- What schema.sql needs of a Supabase database.
do $$
begin
  create role anon; create role authenticated; create role service_role bypassrls;
exception when duplicate_object then null; -- roles belong to the cluster
end $$;
create schema auth;
create function auth.uid() returns uuid language sql stable as $$ select null::uuid $$;
create schema realtime;
create table realtime.messages (topic text, extension text, payload jsonb, event text, private boolean);
create function realtime.topic() returns text language sql stable as $$ select null::text $$;
create function realtime.send(payload jsonb, event text, topic text, private boolean) returns void language sql as $$ select $$;
create function realtime.send_binary(payload bytea, event text, topic text, private boolean) returns void language sql as $$ select $$;
create function realtime.broadcast_changes(topic_name text, event_name text, operation text, table_name text, table_schema text, new record, old record, level text default 'ROW')
  returns void language plpgsql as $$ begin end $$;
