/*
 * src/core/files.c
 *		Reading a small file that an administrator names, without ever waiting
 *		for it.
 *
 * A FIFO waits in open() for somebody who writes, a terminal in read(), and a
 * worker that waits there hears no signal that it has blocked.  So a file is
 * opened without waiting and has to be a regular one before it is read.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"
#include "storage/fd.h"

/* Why an open file may not be used; NULL if it may. */
static const char *
refused(int fd, size_t limit, bool secret)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return "cannot be examined";
	if (!S_ISREG(st.st_mode))
		return "is not a regular file";
	if (secret && st.st_uid != geteuid())
		return "is not owned by the user that runs the server";
	if (secret && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "may be read or written by others; set its mode to 0600";
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return "may be written by others";
	if (st.st_size > (off_t) limit)
		return psprintf("is larger than %zu kB", limit / 1024);
	return NULL;
}

/* Up to limit bytes of the file; false if they cannot be read, or there are more. */
static bool
read_bytes(int fd, char *bytes, size_t limit, size_t *length)
{
	ssize_t		n;

	*length = 0;
	/* one byte more than is allowed: a file may grow while it is read */
	while (*length <= limit && (n = read(fd, bytes + *length, limit + 1 - *length)) != 0)
	{
		if (n < 0)
			return false;
		*length += n;
	}
	return *length <= limit;
}

/*
 * The text of a regular file of up to limit bytes that nobody but its owner may
 * write; a secret one must also be the server's user's and readable for nobody
 * else.  A symbolic link counts as what it points to.  NULL with *problem, words
 * that follow the file's name, if it cannot be had.  The block is palloc'd with
 * limit + 2 bytes, NUL terminated; to wipe all of it is up to the caller.
 */
char *
pl_read_file(const char *path, size_t limit, bool secret, const char **problem)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	char	   *text;
	size_t		length;

	if (fd < 0)
	{
		*problem = psprintf("cannot be opened: %m");
		return NULL;
	}
	*problem = refused(fd, limit, secret);
	if (*problem != NULL)
	{
		CloseTransientFile(fd);
		return NULL;
	}
	text = palloc0(limit + 2);
	if (!read_bytes(fd, text, limit, &length) || strlen(text) != length)
	{
		explicit_bzero(text, limit + 2);
		pfree(text);
		text = NULL;
		*problem = "cannot be read as text";
	}
	CloseTransientFile(fd);
	return text;
}
