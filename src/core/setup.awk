# src/core/setup.awk: the install script with the rooms' files in the place of
# its @tables@, @seeds@, @triggers@ and @views@ lines, each as one EXECUTE; at
# @checks@ a query of all their checks, at @known_triggers@ the names of all
# triggers, at @table_names@ and @view_names@ those of all tables and views.  What a room has is known
# here, never looked up in a database.
#
# Seeds are the INSERT statements of the files with tables: a schema-only dump
# brings the tables back without them.

# what: "all", "seeds" or "no seeds"
function put(files, what,    n, list, i, line, in_seed)
{
	n = split(files, list, " ")
	for (i = 1; i <= n; i++)
	{
		print "EXECUTE $layout$"
		in_seed = 0
		while ((getline line < list[i]) > 0)
		{
			if (line ~ /^INSERT /)
				in_seed = 1
			if (what == "all" || in_seed == (what == "seeds"))
				print line
			if (line ~ /;$/)
				in_seed = 0
		}
		close(list[i])
		print "$layout$;"
	}
}

function put_checks(files,    n, list, i, line, separator)
{
	n = split(files, list, " ")
	for (i = 1; i <= n; i++)
	{
		while ((getline line < list[i]) > 0)
			if (match(line, /^CREATE FUNCTION [a-z_]+_checks\(\)/))
			{
				printf "%s\t\tSELECT c.* FROM payledger.%s AS c", separator, substr(line, RSTART + 16, RLENGTH - 16)
				separator = "\n\t\t UNION ALL\n"
			}
		close(list[i])
	}
	print ""
}

# a statement may be several lines
function put_known_triggers(files,    n, list, i, line, name, separator)
{
	n = split(files, list, " ")
	for (i = 1; i <= n; i++)
	{
		name = ""
		while ((getline line < list[i]) > 0)
		{
			if (match(line, /^CREATE OR REPLACE TRIGGER [a-z_]+/))
				name = substr(line, RSTART + 26, RLENGTH - 26)
			if (name != "" && match(line, / ON payledger\.[a-z_]+/))
			{
				printf "%s\t('%s', '%s')", separator, substr(line, RSTART + 14, RLENGTH - 14), name
				separator = ",\n"
				name = ""
			}
		}
		close(list[i])
	}
	print ""
}

# the names in lines between two patterns, by commas
function names(files, before, after,    n, list, i, line, result)
{
	n = split(files, list, " ")
	for (i = 1; i <= n; i++)
	{
		while ((getline line < list[i]) > 0)
			if (line ~ ("^" before "[a-z_]+" after "$"))
			{
				gsub("^" before "|" after "$", "", line)
				result = result (result == "" ? "" : ", ") line
			}
		close(list[i])
	}
	return result
}

/^@tables@$/			{ put(tables, "no seeds"); next }
/^@seeds@$/				{ put(tables, "seeds"); next }
/^@triggers@$/			{ put(triggers, "all"); next }
/^@views@$/				{ put(views, "all"); next }
/^@checks@$/			{ put_checks(verify); next }
/^@known_triggers@$/	{ put_known_triggers(triggers); next }
{
	gsub(/@table_names@/, names(tables, "CREATE TABLE payledger[.]", " [(]"))
	gsub(/@view_names@/, names(views, "CREATE OR REPLACE VIEW payledger[.]", " AS"))
	gsub(/@layout_version@/, layout)
	gsub(/@extension_version@/, version)
	print
}
