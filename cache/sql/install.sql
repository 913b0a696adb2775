-- What a table cache asks of a database, version 1: the table rt_mark, the
-- functions rt_describe, rt_chunk, rt_digest and rt_keys in the schema public,
-- and the schema gapless, which they are made with and which the REST API need
-- not expose.
--
-- Apply it as the owner of the schema public, such as the role postgres of a
-- Supabase project. It may be applied again, and over an earlier version.
-- uninstall.sql takes it back, anon.sql lets clients read that nobody signed
-- in. The functions run with the rights of their caller, and row level security
-- holds for them as for any other read.

do $$
declare
  installed int;
  made oid;
begin
  select pg_catalog.max(pg_catalog.substring(pg_catalog.obj_description(p.oid, 'pg_proc'), '^gapless cache, version (\d+)')::int)
    into installed
    from pg_catalog.pg_proc p
   where p.pronamespace = 'public'::pg_catalog.regnamespace and p.proname = 'rt_describe';
  if installed > 1 then
    raise exception 'gapless cache: version % is installed, which is newer than this file', installed;
  end if;

  made := pg_catalog.to_regclass('public.rt_mark');
  if made is null then
    create table public.rt_mark (
      id    uuid        primary key default pg_catalog.gen_random_uuid(),
      owner text,
      seq   bigint      not null default 0,
      at    timestamptz not null default pg_catalog.clock_timestamp()
    );
    comment on table public.rt_mark is 'gapless cache: a row for each client that marks positions in the stream of changes';
  elsif coalesce(pg_catalog.obj_description(made, 'pg_class'), '') not like 'gapless cache%' then
    raise exception 'gapless cache: there is a table public.rt_mark of another origin';
  end if;
end $$;

do $$
begin
  if pg_catalog.to_regnamespace('gapless') is null then
    create schema gapless;
  elsif coalesce(pg_catalog.obj_description(pg_catalog.to_regnamespace('gapless'), 'pg_namespace'), '') not like 'gapless cache%' then
    raise exception 'gapless cache: there is a schema gapless of another origin';
  end if;
end $$;
comment on schema gapless is 'gapless cache: what the functions rt_* are made with';

-- A function whose arguments are not those of this version stays otherwise
-- beside the new one, and a call could mean either.
do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid from pg_catalog.pg_proc p
     where p.pronamespace = 'public'::pg_catalog.regnamespace and pg_catalog.obj_description(p.oid, 'pg_proc') like 'gapless cache%'
        or p.pronamespace = 'gapless'::pg_catalog.regnamespace and p.proname not in ('count_mark', 'own_mark')
  loop
    execute pg_catalog.format('drop function %s', f);
  end loop;
end $$;

-- The table rt_mark -----------------------------------------------------------

-- A mark is updated and never inserted anew: an INSERT can be in the log before
-- its row is visible, and Realtime, which asks row level security about it, then
-- drops it for good. seq counts the updates in the order of their commits,
-- whatever an UPDATE says it should be.
create or replace function gapless.count_mark() returns trigger
language plpgsql security invoker set search_path = '' as $$
begin
  new.id := old.id;
  new.owner := old.owner;
  new.seq := old.seq + 1;
  new.at := pg_catalog.clock_timestamp();
  return new;
end $$;

-- The owner is the subject of the token, which need not be a UUID. Marks that
-- the same owner has not used for a day are of clients that are gone, and an owner
-- has 1000 of the others at most. What an INSERT says of seq and at counts for
-- nothing.
create or replace function gapless.own_mark() returns trigger
language plpgsql security invoker set search_path = '' as $$
begin
  new.owner := coalesce(new.owner, nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub');
  new.seq := 0;
  new.at := pg_catalog.clock_timestamp();
  delete from public.rt_mark m
   where (m.owner = new.owner or m.owner is null and new.owner is null) and m.at < pg_catalog.clock_timestamp() - interval '1 day';
  if (select pg_catalog.count(*) from (select from public.rt_mark m
       where m.owner = new.owner or m.owner is null and new.owner is null limit 1000) used) >= 1000 then
    raise exception 'there are 1000 marks of this owner' using errcode = '54000';
  end if;
  return new;
end $$;

create or replace trigger count_mark before update on public.rt_mark
  for each row execute function gapless.count_mark();
create or replace trigger own_mark before insert on public.rt_mark
  for each row execute function gapless.own_mark();

create index if not exists rt_mark_owner on public.rt_mark (owner);

alter table public.rt_mark enable row level security;
drop policy if exists own on public.rt_mark;
create policy own on public.rt_mark for all
  using (owner = (select nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'))
  with check (owner = (select nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'));

do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    raise warning 'gapless cache: there is no publication supabase_realtime, so that no mark comes out of the stream';
  elsif not exists (select from pg_catalog.pg_publication_tables
                     where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = 'rt_mark') then
    alter publication supabase_realtime add table public.rt_mark;
  end if;
end $$;

-- The schema gapless ----------------------------------------------------------
-- These write SQL. A name gets into it by way of the catalog and %I, a value by
-- %L, and nothing of a caller's in any other way. With an empty search path all
-- types are written with their schema, and so must operators be.

-- readable raises an error unless the caller may read some column of a table,
-- and the table is in the schema of these functions, which the REST API exposes
-- then, or in the publication. Else they would be a way around the list of
-- exposed schemas: to the catalogs, which everybody may read, and what else was
-- granted in the belief that the API does not reach it.
create function gapless.readable(rel regclass) returns void
language plpgsql stable security invoker set search_path = '' as $$
declare
  name text;
  schema text;
begin
  if rel is null then
    raise exception 'rel must name a table' using errcode = '22023';
  end if;
  select c.relname, n.nspname into name, schema
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where c.oid = rel;
  if name is null or not pg_catalog.has_any_column_privilege(rel, 'SELECT') then
    raise exception 'permission denied for table %', coalesce(name, rel::text) using errcode = '42501';
  end if;
  if schema <> 'public' and not exists (
    select from pg_catalog.pg_publication_tables p
     where p.pubname = 'supabase_realtime' and p.schemaname = schema and p.tablename = name) then
    raise exception 'permission denied for table %', name
      using errcode = '42501', hint = 'It is neither in the schema public nor in the publication supabase_realtime.';
  end if;
end $$;

-- column_of finds a column: its number, its type without domains, and that type
-- in SQL without a length, which would cut values that are compared with it.
create function gapless.column_of(rel regclass, name text, out num smallint, out typ oid, out sqltype text, out required boolean)
language plpgsql stable security invoker set search_path = '' as $$
begin
  select a.attnum, a.atttypid, a.attnotnull into num, typ, required
    from pg_catalog.pg_attribute a
   where a.attrelid = rel and a.attname = name and a.attnum > 0 and not a.attisdropped;
  if num is null then
    raise exception 'column "%" of relation "%" does not exist', name, (select relname from pg_catalog.pg_class where oid = rel)
      using errcode = '42703';
  end if;
  while (select t.typtype from pg_catalog.pg_type t where t.oid = typ) = 'd' loop
    typ := (select t.typbasetype from pg_catalog.pg_type t where t.oid = typ);
  end loop;
  sqltype := pg_catalog.format_type(typ, -1);
end $$;

-- operator_of names an operator: that of the schema of the type, where the type
-- has one of its own as citext does, else PostgreSQL's.
create function gapless.operator_of(typ oid, name text) returns text
language sql stable security invoker set search_path = '' as $$
  select pg_catalog.format('operator(%I.%s)', coalesce((
    select n.nspname
      from pg_catalog.pg_operator o
      join pg_catalog.pg_type t on t.oid = typ and o.oprnamespace = t.typnamespace
      join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
     where o.oprname = name and o.oprleft = typ and o.oprright = typ), 'pg_catalog'), name);
$$;

-- keyed raises an error unless these columns tell one row from another and can
-- be paged by. Of a view nothing is known, and the caller is believed.
create function gapless.keyed(rel regclass, key text[]) returns void
language plpgsql stable security invoker set search_path = '' as $$
declare
  name text;
  c record;
  nums smallint[];
  base boolean := (select relkind in ('r', 'p') from pg_catalog.pg_class where oid = rel);
begin
  if coalesce(pg_catalog.cardinality(key), 0) = 0 then
    raise exception 'key must name columns' using errcode = '22023';
  end if;
  foreach name in array key loop
    c := gapless.column_of(rel, name);
    if exists (select from pg_catalog.pg_type t where t.oid = c.typ and (t.typcategory = 'A' or t.typtype = 'c')) then
      raise exception 'column "%" cannot be in a key: it is an array or composite', name using errcode = '22023';
    end if;
    if base and not c.required then
      raise exception 'column "%" cannot be in a key: it may be null', name using errcode = '22023';
    end if;
    nums := nums || c.num;
  end loop;
  if base and not exists (
    select from pg_catalog.pg_index i
     where i.indrelid = rel and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
       and (i.indkey::smallint[])[0:i.indnkeyatts - 1] <@ nums) then
    raise exception 'key must have the columns of the primary key or of a unique index' using errcode = '22023';
  end if;
end $$;

-- compared compares the key with values: op is > or <=. Rows are compared as
-- such, so that an index finds the place, unless a type has operators of its
-- own, which cannot be named in one comparison with others. The first column is
-- compared once more by itself, since of rows that are between two others
-- PostgreSQL cannot estimate how many they are, and would read the whole table.
create function gapless.compared(rel regclass, key text[], op text, bound text[]) returns text
language plpgsql stable security invoker set search_path = '' as $$
declare
  c record;
  columns text[];
  vals text[];
  ops text[];
  first text;
  behind text;
begin
  if pg_catalog.cardinality(bound) <> pg_catalog.cardinality(key) or pg_catalog.array_position(bound, null) is not null then
    raise exception 'a bound has as many values as key has columns, and none is null' using errcode = '22023';
  end if;
  for i in reverse pg_catalog.cardinality(key) .. 1 loop
    c := gapless.column_of(rel, key[i]);
    columns := pg_catalog.format('x.%I', key[i]) || columns;
    vals := pg_catalog.format('%L::%s', bound[i], c.sqltype) || vals;
    ops := gapless.operator_of(c.typ, '>') || ops;
    first := pg_catalog.format('%s %s %s', columns[1], gapless.operator_of(c.typ, case op when '>' then '>=' else op end), vals[1]);
    behind := pg_catalog.format('%s %s %s', columns[1], ops[1], vals[1])
      || coalesce(pg_catalog.format(' or %s %s %s and (', columns[1], gapless.operator_of(c.typ, '='), vals[1]) || behind || ')', '');
  end loop;
  if pg_catalog.cardinality(key) = 1 then
    return case op when '>' then behind else first end;
  end if;
  if ops <@ array['operator(pg_catalog.>)'] then
    return pg_catalog.format('%s and (%s) %s (%s)', first, pg_catalog.array_to_string(columns, ', '), op, pg_catalog.array_to_string(vals, ', '));
  end if;
  return first || case op when '>' then ' and (' else ' and not (' end || behind || ')';
end $$;

-- condition is a filter's condition in SQL.
create function gapless.condition(rel regclass, cond jsonb) returns text
language plpgsql stable security invoker set search_path = '' as $$
declare
  op text := cond ->> 'op';
  vals text[];
  c record;
  symbol text := case op
    when 'eq' then '=' when 'neq' then '<>' when 'lt' then '<' when 'lte' then '<=' when 'gt' then '>' when 'gte' then '>='
    when 'like' then '~~' when 'ilike' then '~~*' when 'match' then '~' when 'imatch' then '~*' when 'in' then '=' end;
  result text;
begin
  if pg_catalog.jsonb_typeof(cond) <> 'object' or pg_catalog.jsonb_typeof(cond -> 'values') is distinct from 'array'
     or pg_catalog.jsonb_typeof(cond -> 'column') is distinct from 'string'
     or coalesce(pg_catalog.jsonb_typeof(cond -> 'not'), 'boolean') <> 'boolean' then
    raise exception 'a condition is an object of column, op, values and not' using errcode = '22023';
  end if;
  vals := array(select pg_catalog.jsonb_array_elements_text(cond -> 'values'));
  if op is distinct from 'in' and pg_catalog.cardinality(vals) <> 1 or pg_catalog.array_position(vals, null) is not null then
    raise exception 'a condition has one value, or several with in, and none is null' using errcode = '22023';
  end if;
  c := gapless.column_of(rel, cond ->> 'column');
  case
  when op = 'is' and vals[1] in ('null', 'true', 'false', 'unknown') then
    result := pg_catalog.format('x.%I is %s', cond ->> 'column', vals[1]);
  when op = 'isdistinct' then
    result := pg_catalog.format('x.%I is distinct from %L::%s', cond ->> 'column', vals[1], c.sqltype);
  when op = 'in' then
    result := 'false';
    if pg_catalog.cardinality(vals) > 0 and gapless.operator_of(c.typ, symbol) = 'operator(pg_catalog.=)' then
      result := (select pg_catalog.format('x.%I in (%s)', cond ->> 'column', pg_catalog.string_agg(pg_catalog.format('%L::%s', v, c.sqltype), ', '))
                   from pg_catalog.unnest(vals) v);
    elsif pg_catalog.cardinality(vals) > 0 then
      result := (select pg_catalog.string_agg(pg_catalog.format('x.%I %s %L::%s', cond ->> 'column', gapless.operator_of(c.typ, symbol), v, c.sqltype), ' or ')
                   from pg_catalog.unnest(vals) v);
    end if;
  when symbol like '%~%' then
    result := pg_catalog.format('x.%I %s %L', cond ->> 'column', gapless.operator_of(c.typ, symbol), vals[1]);
  when symbol is not null then
    result := pg_catalog.format('x.%I %s %L::%s', cond ->> 'column', gapless.operator_of(c.typ, symbol), vals[1], c.sqltype);
  else
    raise exception 'a filter has no operator "%" of "%"', op, vals[1] using errcode = '22023';
  end case;
  return case when (cond -> 'not')::boolean then 'not ' else '' end || '(' || result || ')';
end $$;

-- source is the rows that a call is about, as a FROM and a WHERE of x.
create function gapless.source(rel regclass, key text[], filter jsonb, after text[], upto text[]) returns text
language plpgsql stable security invoker set search_path = '' as $$
declare
  cond jsonb;
  result text := pg_catalog.format(' from %s x where true', rel);
begin
  if after is not null then
    result := result || ' and ' || gapless.compared(rel, key, '>', after);
  end if;
  if upto is not null then
    result := result || ' and ' || gapless.compared(rel, key, '<=', upto);
  end if;
  if coalesce(pg_catalog.jsonb_typeof(filter), 'null') not in ('null', 'array') then
    raise exception 'filter must be an array of conditions' using errcode = '22023';
  end if;
  if pg_catalog.jsonb_typeof(filter) = 'array' then
    for cond in select pg_catalog.jsonb_array_elements(filter) loop
      result := result || ' and ' || gapless.condition(rel, cond);
    end loop;
  end if;
  return result;
end $$;

-- texts are the canonical texts of columns, as expressions: what
-- to_jsonb(column) #>> '{}' gives, which is cheaper to have of some types.
create function gapless.texts(rel regclass, names text[]) returns text[]
language plpgsql stable security invoker set search_path = '' as $$
declare
  name text;
  result text[] := '{}';
begin
  foreach name in array coalesce(names, '{}') loop
    if (gapless.column_of(rel, name)).typ in (16, 20, 21, 23, 25, 1043, 1700, 2950) then -- bool, int8, int2, int4, text, varchar, numeric, uuid
      result := result || pg_catalog.format('x.%I::text', name);
    else
      result := result || pg_catalog.format('(pg_catalog.to_jsonb(x.%I) #>> ''{}'')', name);
    end if;
  end loop;
  return result;
end $$;

-- packed is what is hashed of texts, as an expression: of each its length in
-- bytes, a colon and the text, or a minus sign for NULL, so that no two rows are
-- the same.
create function gapless.packed(texts text[]) returns text
language sql immutable security invoker set search_path = '' as $$
  select coalesce(pg_catalog.string_agg(
    pg_catalog.format('coalesce(pg_catalog.octet_length(%1$s)::text || '':'' || %1$s, ''-'')', t), ' || ' order by i), '''''')
    from pg_catalog.unnest(texts) with ordinality as u(t, i);
$$;

-- place is the key of a row as a JSON array of its texts, as an expression.
create function gapless.place(texts text[]) returns text
language sql immutable security invoker set search_path = '' as $$
  select pg_catalog.format('pg_catalog.to_json(array[%s])', pg_catalog.array_to_string(texts, ', '));
$$;

-- ordering is the order of a key.
create function gapless.ordering(key text[]) returns text
language sql stable security invoker set search_path = '' as $$
  select pg_catalog.string_agg(pg_catalog.format('x.%I', k), ', ' order by i) from pg_catalog.unnest(key) with ordinality as u(k, i);
$$;

-- bound is the key of the row up to which lim rows are read, null if there are
-- fewer.
create function gapless.bound(rel regclass, key text[], filter jsonb, after text[], upto text[], lim integer) returns text[]
language plpgsql volatile security invoker set search_path = '' as $$
declare
  result text[];
begin
  perform gapless.readable(rel);
  perform gapless.keyed(rel, key);
  if lim < 1 then
    raise exception 'lim must be positive' using errcode = '22023';
  end if;
  if lim is not null then
    execute pg_catalog.format('select array[%s]', pg_catalog.array_to_string(gapless.texts(rel, key), ', '))
      || gapless.source(rel, key, filter, after, upto)
      || pg_catalog.format(' order by %s offset %s limit 1', gapless.ordering(key), lim - 1)
      into result;
  end if;
  return result;
end $$;

-- hash is the hash of a text, as an expression. MD5 takes several times as long
-- as hashtextextended, which cannot change either, since partitions go by it,
-- and whose seed lets rows that are hashed alike by accident, or by somebody's
-- doing, be told apart the next time.
create function gapless.hash(text text, seed bigint) returns text
language sql immutable security invoker set search_path = '' as $$
  select pg_catalog.format('pg_catalog.hashtextextended((%s) collate pg_catalog."C", %L::bigint)', text, coalesce(seed, 0));
$$;

-- bucket is the leading bits of a slot, as an expression.
create function gapless.bucket(slot text, bits integer) returns text
language plpgsql immutable security invoker set search_path = '' as $$
begin
  if bits is null or bits not between 0 and 31 then
    raise exception 'a bucket is of 0 to 31 bits' using errcode = '22023';
  end if;
  return pg_catalog.format('((%s >> %s) & %s)::integer', slot, (64 - bits) % 64, (1::bigint << bits) - 1);
end $$;

-- hashed is the rows that a call is about as a subquery of 64-bit hashes: slot,
-- of the key, and sum, of the key and version; also place, the key itself, if
-- asked for. Of rows outside of the buckets wanted no more is made than the
-- slot.
create function gapless.hashed(rel regclass, key text[], version text[], filter jsonb, after text[], upto text[], seed bigint,
  within_bits integer, within integer[], keys boolean) returns text
language plpgsql stable security invoker set search_path = '' as $$
declare
  n integer := pg_catalog.cardinality(key);
  texts text[] := gapless.texts(rel, key || version);
  source text := gapless.source(rel, key, filter, after, upto);
begin
  if within is not null then
    source := source || pg_catalog.format(' and %s = any (%L::integer[])',
      gapless.bucket(gapless.hash(gapless.packed(texts[:n]), seed), within_bits), within);
  end if;
  if pg_catalog.array_to_string(texts, ',') like '%to\_jsonb(%' then -- not to be made twice
    source := (select pg_catalog.format(' from (select %s%s offset 0) f', pg_catalog.string_agg(t || ' as t' || i, ', ' order by i), source)
                 from pg_catalog.unnest(texts) with ordinality as u(t, i));
    texts := array(select 'f.t' || i from pg_catalog.generate_series(1, pg_catalog.cardinality(texts)) i order by i);
  end if;
  return pg_catalog.format('(select %s as slot, %s as sum, g.place from (select %s as p, %s as v, %s as place%s offset 0) g) r',
    gapless.hash('g.p', seed), gapless.hash(case when pg_catalog.cardinality(version) > 0 then 'g.p || g.v' else 'g.p' end, seed),
    gapless.packed(texts[:n]), gapless.packed(texts[n + 1:]), case when keys then gapless.place(texts[:n]) else 'null' end, source);
end $$;

-- mark counts on, at the end of a call, so that it is committed after all that
-- the call has read.
create function gapless.mark(id uuid) returns bigint
language plpgsql volatile security invoker set search_path = '' as $$
declare
  result bigint;
begin
  if id is not null then
    update public.rt_mark m set at = pg_catalog.clock_timestamp() where m.id = mark.id returning m.seq into result;
  end if;
  return result;
end $$;

-- What clients call ------------------------------------------------------------
-- All are volatile, so that each of their statements sees what was committed
-- before it, and none sees less than an earlier one.

-- rt_describe tells of the columns that the caller may read, and of the primary
-- key if that is so of all of its columns.
create function public.rt_describe(rel regclass) returns json
language plpgsql volatile security invoker set search_path = '' as $$
begin
  perform gapless.readable(rel);
  return (
    select pg_catalog.json_build_object(
      'columns', (select pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'type', t.typname) order by a.attnum)
                    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
                   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                     and pg_catalog.has_column_privilege(c.oid, a.attnum, 'select')),
      'identity', c.relreplident,
      'key', coalesce((select case when pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'select'))
                                then pg_catalog.json_agg(a.attname order by k.i) end
                         from pg_catalog.pg_index x
                         cross join pg_catalog.unnest((x.indkey::smallint[])[0:x.indnkeyatts - 1]) with ordinality as k(num, i)
                         join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = k.num
                        where x.indrelid = c.oid and x.indisprimary), '[]'),
      'published', exists (select from pg_catalog.pg_publication_tables p
                             join pg_catalog.pg_publication f on f.pubname = p.pubname and f.pubinsert and f.pubupdate and f.pubdelete
                            where p.pubname = 'supabase_realtime' and p.schemaname = n.nspname and p.tablename = c.relname),
      'rls', c.relrowsecurity,
      'schema', n.nspname,
      'table', c.relname,
      'version', 1)
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.oid = rel);
end $$;
comment on function public.rt_describe(regclass) is 'gapless cache, version 1';

create function public.rt_chunk(rel regclass, key text[], cols text[] default null, filter jsonb default null,
  after text[] default null, upto text[] default null, lim integer default null, mark uuid default null) returns json
language plpgsql volatile security invoker set search_path = '' as $$
declare
  name text;
  nums smallint[] := '{}';
  list text;
  rows json;
  last text[];
  n integer;
begin
  perform gapless.readable(rel);
  perform gapless.keyed(rel, key);
  if lim < 1 then
    raise exception 'lim must be positive' using errcode = '22023';
  end if;
  foreach name in array key || coalesce(cols, '{}') loop
    nums := nums || (gapless.column_of(rel, name)).num;
  end loop;
  list := (select pg_catalog.string_agg(pg_catalog.format('x.%I', a.attname), ', ' order by a.attnum)
             from pg_catalog.pg_attribute a
            where a.attrelid = rel and a.attnum > 0 and not a.attisdropped and (cols is null or a.attnum = any (nums)));
  execute pg_catalog.format('select coalesce(pg_catalog.json_agg(pg_catalog.row_to_json(x.*)), ''[]''), array[%s], pg_catalog.count(*) from (select %s%s order by %s limit %s) x',
    (select pg_catalog.string_agg(pg_catalog.format('(pg_catalog.array_agg(%s))[pg_catalog.count(*)]', t), ', ' order by i)
       from pg_catalog.unnest(gapless.texts(rel, key)) with ordinality as u(t, i)),
    list, gapless.source(rel, key, filter, after, upto), gapless.ordering(key), coalesce(lim::text, 'all'))
    into rows, last, n;
  return pg_catalog.json_build_object('last', case when n = lim then last end, 'rows', rows, 'seq', gapless.mark(mark));
end $$;
comment on function public.rt_chunk(regclass, text[], text[], jsonb, text[], text[], integer, uuid) is 'gapless cache, version 1';

create function public.rt_digest(rel regclass, key text[], version text[] default null, filter jsonb default null,
  after text[] default null, upto text[] default null, lim integer default null, seed bigint default null,
  bits integer default null, within_bits integer default null, within integer[] default null, mark uuid default null) returns json
language plpgsql volatile security invoker set search_path = '' set jit = off as $$
declare
  last text[];
  buckets json;
begin
  perform gapless.readable(rel);
  perform gapless.keyed(rel, key);
  last := gapless.bound(rel, key, filter, after, upto, lim);
  execute pg_catalog.format('select (''['' || coalesce(pg_catalog.string_agg(pg_catalog.format(''[%%s,%%s,"%%s"]'', d.bucket, d.n,'
      || ' pg_catalog.lpad(pg_catalog.to_hex(d.sum), 16, ''0'')), '','' order by d.bucket), '''') || '']'')::json'
      || ' from (select %s as bucket, pg_catalog.count(*) as n, pg_catalog.bit_xor(r.sum) as sum from %s group by 1) d',
    gapless.bucket('r.slot', coalesce(bits, 0)),
    gapless.hashed(rel, key, version, filter, after, coalesce(last, upto), seed, within_bits, within, false))
    into buckets;
  return pg_catalog.json_build_object('buckets', buckets, 'last', last, 'seq', gapless.mark(mark));
end $$;
comment on function public.rt_digest(regclass, text[], text[], jsonb, text[], text[], integer, bigint, integer, integer, integer[], uuid) is 'gapless cache, version 1';

create function public.rt_keys(rel regclass, key text[], version text[] default null, filter jsonb default null,
  after text[] default null, upto text[] default null, lim integer default null, seed bigint default null,
  within_bits integer default null, within integer[] default null, mark uuid default null) returns json
language plpgsql volatile security invoker set search_path = '' set jit = off as $$
declare
  last text[];
  keys json;
begin
  perform gapless.readable(rel);
  perform gapless.keyed(rel, key);
  last := gapless.bound(rel, key, filter, after, upto, lim);
  execute pg_catalog.format('select (''['' || coalesce(pg_catalog.string_agg(pg_catalog.format(''[%%s,"%%s"]'', r.place,'
      || ' pg_catalog.lpad(pg_catalog.to_hex(r.sum), 16, ''0'')), '','' order by (r.slot >> 32) & 4294967295), '''') || '']'')::json from %s',
    gapless.hashed(rel, key, version, filter, after, coalesce(last, upto), seed, within_bits, within, true))
    into keys;
  return pg_catalog.json_build_object('keys', keys, 'last', last, 'seq', gapless.mark(mark));
end $$;
comment on function public.rt_keys(regclass, text[], text[], jsonb, text[], text[], integer, bigint, integer, integer[], uuid) is 'gapless cache, version 1';

-- Rights ----------------------------------------------------------------------
-- Whoever makes a function or table in the schema public of a Supabase project
-- gives it to the roles anon, authenticated and service_role by default, and
-- PostgreSQL gives functions to everyone.

do $$
declare
  f regprocedure;
  r text;
begin
  revoke all on table public.rt_mark from public;
  for r in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role') loop
    execute pg_catalog.format('revoke all on table public.rt_mark from %I', r);
    if r <> 'anon' then
      execute pg_catalog.format('grant select, insert, update, delete on table public.rt_mark to %I', r);
      execute pg_catalog.format('grant usage on schema gapless to %I', r);
    end if;
  end loop;
  for f in
    select p.oid from pg_catalog.pg_proc p
     where p.pronamespace = 'gapless'::pg_catalog.regnamespace
        or p.pronamespace = 'public'::pg_catalog.regnamespace and pg_catalog.obj_description(p.oid, 'pg_proc') like 'gapless cache%'
  loop
    execute pg_catalog.format('revoke all on function %s from public', f);
    for r in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role') loop
      execute pg_catalog.format('revoke all on function %s from %I', f, r);
      if r <> 'anon' then
        execute pg_catalog.format('grant execute on function %s to %I', f, r);
      end if;
    end loop;
  end loop;
end $$;

notify pgrst, 'reload schema';
