-- What a Realtime server does to a value, as functions of their own. They stand
-- on the same casts as the server's: a test compares their results with what
-- the mock server sends and with the recordings of a real one.

-- wal is the JSON of a value in the change log, which wal2json writes from the
-- output of the type; typ is the column's own type, also where that is a domain.
create function wal(output text, typ regtype) returns jsonb immutable language sql as $$
	select case
	when output is null then 'null'::jsonb
	when typ in ('int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'numeric') then
		case when output ~ '^(NaN|-?Infinity)' then 'null' else output::jsonb end
	when typ = 'bool'::regtype then to_jsonb(output = 't')
	when typ = 'bytea'::regtype then to_jsonb(substr(output, 3))
	else to_jsonb(output) end
$$;

-- wire is the JSON that a subscriber gets: the text of that, cast to the type
-- without its length. An error, as "!" and its SQLSTATE, is one of the poll.
create function wire(output text, typ regtype) returns text language plpgsql as $$
declare result jsonb;
begin
	if typ = 'bytea'::regtype then
		return coalesce(wal(output, typ)::text, 'null');
	end if;
	execute format('select to_jsonb(%L::%s)', wal(output, typ) #>> '{}', typ) into result;
	return coalesce(result::text, 'null');
exception when others then
	return '!' || sqlstate;
end $$;

-- is_same reports whether two JSON texts are one jsonb.
create function is_same(rest text, wire text) returns bool language plpgsql as $$
begin
	return left(wire, 1) <> '!' and rest::jsonb::text = wire;
end $$;

create function symbol(op text) returns text immutable language sql as $$
	select case op when 'eq' then '=' when 'neq' then '!=' when 'lt' then '<' when 'lte' then '<=' when 'gt' then '>' when 'gte' then '>='
	when 'in' then '= any' when 'like' then 'like' when 'ilike' then 'ilike' when 'match' then '~' when 'imatch' then '~*'
	when 'isdistinct' then 'is distinct from' when 'is' then 'is' end
$$;

-- condition is a filter in SQL: left is an expression.
create function condition(left_ text, typ text, op text, value text) returns text immutable language sql as $$
	select case op
	when 'is' then format('%s is %s', left_, value)
	when 'isdistinct' then format('%s is distinct from %L::%s', left_, value, typ)
	when 'in' then format('%s = any (%L::%s[])', left_, value, typ)
	else format('%s %s (%L::%s)', left_, symbol(op), value, typ) end
$$;

-- refused reports whether the server refuses a filter when it is subscribed.
create function refused(typ regtype, op text, value text) returns bool language plpgsql as $$
declare ignored jsonb;
begin
	case
	when op in ('like', 'ilike') then
		return not exists (select from pg_operator where oprname = '~~' and oprleft = typ);
	when op in ('match', 'imatch') then
		if not exists (select from pg_operator where oprname = symbol(op) and oprleft = typ and oprright = typ and oprresult = 'bool'::regtype) then
			return true;
		end if;
		perform '' ~ value;
	when op = 'is' then
		return value <> 'null' and typ <> 'bool'::regtype;
	when op = 'in' then
		execute format('select to_jsonb(%L::%s[])', value, typ) into ignored;
	when typ <> 'bytea'::regtype then -- a bytea is not cast
		execute format('select to_jsonb(%L::%s)', value, typ) into ignored;
	else
	end case;
	return false;
exception when others then
	return true;
end $$;

-- passes is a filter's verdict on a value as the server reaches it, from the
-- value's wire form: true, false, or "!" and the SQLSTATE of an error, which is one of
-- the poll.
create function passes(wire text, typ regtype, op text, value text) returns text language plpgsql as $$
declare result bool;
begin
	execute 'select ' || condition(format('%L::%s', wire::jsonb #>> '{}', typ), typ::text, op, value) into result;
	return coalesce(result, false);
exception when others then
	return '!' || sqlstate;
end $$;

-- meets is the verdict on the value itself, and null where SQL has none.
create function meets(output text, sqltype text, op text, value text) returns text language plpgsql as $$
declare result bool;
begin
	execute 'select ' || condition(format('%L::%s', output, sqltype), sqltype, op, value) into result;
	return coalesce(result, false);
exception when others then
	return null;
end $$;

-- verdicts tries filters on the values of a column: each value with itself and
-- with the first two. It returns the worst verdict of each operator, and a
-- value that brings it about: refused is what every filter is. Patterns that end
-- with a backslash are left out: of any type, the server takes them and then
-- fails.
create function verdicts(outputs text[], wires text[], typ regtype, sqltype text) returns table (op text, verdict text, example text) language plpgsql as $$
declare
	value text; written text; at int; result text; truth text; any_taken bool; rank int;
begin
	foreach op in array array['eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in', 'isdistinct', 'is', 'like', 'ilike', 'match', 'imatch'] loop
		verdict := 'refused'; example := null; rank := 0;
		for at in 1 .. cardinality(outputs) loop
			foreach value in array outputs[1:2] || outputs[at] loop
				written := case op when 'is' then 'null' when 'in' then array[value]::text else value end;
				if left(wires[at], 1) = '!' or refused(typ, op, written) or op in ('like', 'ilike') and typ <> 'bytea'::regtype and right(written, 1) = '\' then
					continue;
				end if;
				result := passes(wires[at], typ, op, written);
				truth := meets(outputs[at], sqltype, op, written);
				if left(result, 1) = '!' and rank < 3 then
					verdict := 'poisons'; example := outputs[at]; rank := 3;
				elsif result is distinct from truth and truth is not null and rank < 2 then
					verdict := 'differs'; example := outputs[at]; rank := 2;
				elsif rank < 1 then
					verdict := 'works'; rank := 1;
				end if;
			end loop;
		end loop;
		return next;
	end loop;
end $$;
