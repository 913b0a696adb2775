-- Installed after schema.sql: a log of every row change, with each value
-- written by PostgreSQL itself. A cell of a logged row is
--   null                       SQL NULL
--   "text"                     the value in PostgreSQL's own text form
--   {"md5": …, "bytes": n}     the same, where the text is longer than 256 bytes
--   ["text", "more"]           with the second form that golden.cell adds
create schema golden;

-- A table as it was at the time of a change.
create table golden.shape (
  id serial primary key,
  doc text not null unique
);

create table golden.change (
  seq bigserial primary key,
  shape int not null,
  statement int not null, -- its place among the transcript's, -1 for one that is not in it
  op text not null,
  new json,
  old json
);

create function golden.txt(t text) returns json language sql immutable as $$
  select case when octet_length(t) > 256 then json_build_object('md5', md5(t), 'bytes', octet_length(t)) else to_json(t) end
$$;

create function golden.base_type(t oid) returns oid language sql stable as $$
  with recursive b(t) as (
    select t
    union all
    select typbasetype from pg_type p join b on p.oid = b.t where p.typtype = 'd'
  )
  select b.t from b join pg_type p on p.oid = b.t where p.typtype <> 'd'
$$;

-- cell returns the SQL expression that writes the value v of type t.
create function golden.cell(v text, t oid) returns text language plpgsql stable as $$
declare
  base oid := golden.base_type(t);
  typ pg_type;
  more text;
begin
  select * into typ from pg_type where oid = base;
  more := case
    -- the bytes, in hexadecimal digits
    when base = 'bytea'::regtype then format('encode(%s, ''hex'')', v)
    -- the bits in IEEE 754, in hexadecimal digits
    when base = 'float8'::regtype then format('encode(float8send(%s), ''hex'')', v)
    when base = 'float4'::regtype then format('encode(float4send(%s), ''hex'')', v)
    -- microseconds since 1970, or [-]Infinity
    when base in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
      then format('trim_scale(extract(epoch from %s) * 1000000)::text', v)
    -- what jsonb makes of it
    when base = 'json'::regtype then format('(%s)::jsonb::text', v)
    -- the elements in order, flat
    when typ.typcategory = 'A' then format('(select json_agg(e::text order by n) from unnest(%s) with ordinality u(e, n))', v)
    -- the fields
    when typ.typtype = 'c' then format('(select json_object_agg(key, value) from jsonb_each_text(to_jsonb(%s)))', v)
  end;
  if more is null then
    return format('golden.txt((%s)::text)', v);
  end if;
  return format('case when (%1$s)::text is not null then json_build_array(golden.txt((%1$s)::text), %2$s) end', v, more);
end $$;

create function golden.describe(rel regclass, r record) returns json language plpgsql as $$
declare
  out json;
begin
  execute (
    select 'select json_build_array(' || string_agg(golden.cell(format('($1).%I', attname), atttypid), ', ' order by attnum) || ')'
    from pg_attribute where attrelid = rel and attnum > 0 and not attisdropped
  ) into out using r;
  return out;
end $$;

create function golden.shape(rel regclass) returns int language plpgsql as $$
declare
  d text := (
    select json_build_object(
      'schema', n.nspname,
      'table', c.relname,
      'columns', (
        select json_agg(json_build_array(attname, typname) order by attnum)
        from pg_attribute a join pg_type t on t.oid = a.atttypid
        where attrelid = rel and attnum > 0 and not attisdropped),
      'key', (
        select coalesce(json_agg(attname order by attnum), '[]')
        from pg_attribute a join pg_index i on i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)
        where a.attrelid = rel),
      'full', c.relreplident = 'f',
      'rls', c.relrowsecurity)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = rel);
begin
  insert into golden.shape(doc) values (d) on conflict do nothing;
  return (select id from golden.shape where doc = d);
end $$;

create function golden.log() returns trigger language plpgsql security definer as $$
begin
  insert into golden.change(shape, statement, op, new, old) values (
    golden.shape(tg_relid), current_setting('golden.statement')::int, tg_op,
    case when tg_op <> 'DELETE' then golden.describe(tg_relid, new) end,
    case when tg_op <> 'INSERT' then golden.describe(tg_relid, old) end);
  return null;
end $$;

do $$
declare
  r regclass;
begin
  for r in select oid from pg_class where relkind = 'r' and relnamespace in ('public'::regnamespace, 'other'::regnamespace) loop
    execute format('create trigger golden_log after insert or update or delete on %s for each row execute function golden.log()', r);
  end loop;
end $$;

-- What the tests read: an object for each shape, then one for each change.
create view golden.dump as
  select id as seq, true as shape, json_build_object('shape', id, 'of', doc::json) as doc from golden.shape
  union all
  select seq, false, json_build_object('shape', shape, 'statement', statement, 'op', op, 'new', new, 'old', old) from golden.change;
