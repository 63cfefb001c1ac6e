# src/core/setup.awk: the install script with the rooms' files in the place of
# its @tables@, @triggers@ and @views@ lines, each as one EXECUTE; at
# @checks@ a query of all their checks, at @known_triggers@ the names of all
# triggers.  What a room has is known here, never looked up in a database.

function put(files,    n, list, i, line)
{
	n = split(files, list, " ")
	for (i = 1; i <= n; i++)
	{
		print "EXECUTE $layout$"
		while ((getline line < list[i]) > 0)
			print line
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

/^@tables@$/			{ put(tables); next }
/^@triggers@$/			{ put(triggers); next }
/^@views@$/				{ put(views); next }
/^@checks@$/			{ put_checks(verify); next }
/^@known_triggers@$/	{ put_known_triggers(triggers); next }
{
	gsub(/@layout_version@/, layout)
	gsub(/@extension_version@/, version)
	print
}
