# src/core/setup.awk: writes setup.sql with the rooms' files in the place of
# its @tables@, @triggers@ and @views@ lines, each as one EXECUTE.

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

/^@tables@$/	{ put(tables); next }
/^@triggers@$/	{ put(triggers); next }
/^@views@$/		{ put(views); next }
{
	gsub(/@layout_version@/, layout)
	gsub(/@extension_version@/, version)
	print
}
