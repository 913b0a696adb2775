-- Takes back install.sql and anon.sql: the functions, the schema gapless, and
-- the table rt_mark with its place in the publication. It may be applied where
-- nothing is installed.

do $$
declare
  f regprocedure;
  made oid := pg_catalog.to_regclass('public.rt_mark');
begin
  for f in
    select p.oid from pg_catalog.pg_proc p
     where p.pronamespace = 'public'::pg_catalog.regnamespace
       and pg_catalog.obj_description(p.oid, 'pg_proc') like 'gapless cache%'
  loop
    execute pg_catalog.format('drop function %s', f);
  end loop;
  if pg_catalog.obj_description(made, 'pg_class') like 'gapless cache%' then
    drop table public.rt_mark;
  end if;
  if pg_catalog.obj_description(pg_catalog.to_regnamespace('gapless'), 'pg_namespace') like 'gapless cache%' then
    drop schema gapless cascade;
  end if;
end $$;

notify pgrst, 'reload schema';
