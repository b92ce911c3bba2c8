/* SPDX-License-Identifier: MIT
 * Listening sockets: the files of unix sockets are ours, whole, and never reached through a link. */
#include "tests/unit/test.h"

#include <sys/stat.h>

#include "shared/err.c"
#include "shared/net.c"
#include "shared/net_owner.c"
#include "shared/net_unix.c"

static const struct oar_listen_options options = {16, "666", ""};
static struct oar_err err;
static char folder[64];
static char path[128]; /* of a socket in it; `length` bytes in all */

static void name_path(size_t length)
{
    snprintf(path, sizeof path, "%s/", folder);
    while (strlen(path) < length) {
        strcat(path, "s");
    }
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/oarlock-net-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int clean_up(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Listens at `path`; -1: refused, and err says why. */
static int listen_there(struct oar_unix_file *file)
{
    char text[160];
    struct oar_address address;
    int fd = -1;
    snprintf(text, sizeof text, "unix:%s", path);
    assert_int_equal(oar_net_parse(text, &address, &err), OAR_OK);
    enum oar_status status = oar_net_listen(&address, text, &options, &fd, file, &err);
    assert_true((status == OAR_OK) == (fd >= 0));
    return fd;
}

static struct oar_address address_of(const char *name)
{
    struct oar_address a = {.len = sizeof a.un, .fd = -1};
    assert_true(strlen(name) < sizeof a.un.sun_path);
    a.un.sun_family = AF_UNIX;
    memcpy(a.un.sun_path, name, strlen(name));
    return a;
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    assert_int_equal(lstat(name, &st), 0);
    return st.st_mode;
}

/* A socket of another type, or a listening one whose queue is full, bound at `path`. */
static int somebody(int type)
{
    struct oar_address a = address_of(path);
    int fd = socket(AF_UNIX, type, 0);
    assert_int_equal(bind(fd, &a.any, a.len), 0);
    return fd;
}

static void every_length_is_whole(void **state)
{
    (void)state;
    for (size_t length = 90; length < sizeof((struct sockaddr_un *)0)->sun_path; length++) {
        struct oar_unix_file file;
        char cut[101];
        char described[OAR_ADDRESS_TEXT];
        name_path(length);
        int fd = listen_there(&file);
        assert_true(fd >= 0);
        oar_net_describe(fd, described, sizeof described);
        assert_string_equal(described + strlen("unix:"), path);
        assert_int_equal(mode_of(path), S_IFSOCK | 0666);
        snprintf(cut, sizeof cut, "%.100s", path); /* somebody else's file */
        FILE *other = length > 100 ? fopen(cut, "w") : NULL;
        oar_net_close(fd, &file);
        assert_int_equal(access(path, F_OK), -1);
        if (other) {
            fclose(other);
            assert_int_equal(unlink(cut), 0);
        }
    }
    assert_int_equal(oar_net_parse("unix:"
                                   "/ten/bytes/ten/bytes/ten/bytes/ten/bytes/ten/bytes"
                                   "/ten/bytes/ten/bytes/ten/bytes/ten/bytes/ten/bytes/sevenmo",
                                   &(struct oar_address){0}, &err),
                     OAR_ERR);
}

static void links_are_not_followed(void **state)
{
    char victim[128];
    struct oar_unix_file file = {0};
    struct oar_address address;
    (void)state;
    name_path(80);
    snprintf(victim, sizeof victim, "%s/victim", folder);
    int fd = open(victim, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(symlink(victim, path), 0);
    address = address_of(path);
    /* what happens when the link has taken the socket's place behind bind */
    assert_int_equal(oar_unix_give(&address, "unix:x", &options, &file, &err), OAR_ERR);
    assert_contains(err.text, "another file has taken the socket's place");
    assert_int_equal(mode_of(victim), S_IFREG | 0600);
    assert_false(file.ours);
    /* neither a link to a socket, nor another name of one */
    assert_int_equal(unlink(path), 0);
    name_path(70);
    int other = somebody(SOCK_STREAM);
    assert_int_equal(chmod(path, 0600), 0);
    char second[128];
    snprintf(second, sizeof second, "%s/second", folder);
    for (int hard = 0; hard < 2; hard++) {
        assert_int_equal(hard ? link(path, second) : symlink(path, second), 0);
        address = address_of(second);
        assert_int_equal(oar_unix_give(&address, "unix:x", &options, &file, &err), OAR_ERR);
        assert_int_equal(mode_of(path), S_IFSOCK | 0600);
        assert_int_equal(unlink(second), 0);
    }
    close(other);
    close(fd);
}

static void only_our_own_file_is_removed(void **state)
{
    struct oar_unix_file file, later;
    (void)state;
    name_path(60);
    int fd = listen_there(&file);
    assert_int_equal(unlink(path), 0); /* somebody has moved it away, and another server came */
    int second = listen_there(&later);
    assert_true(fd >= 0 && second >= 0);
    oar_net_close(fd, &file);
    assert_int_equal(mode_of(path), S_IFSOCK | 0666);
    oar_net_close(second, &later);
    assert_int_equal(access(path, F_OK), -1);
}

static void only_a_refused_connection_is_stale(void **state)
{
    struct oar_unix_file file;
    (void)state;
    name_path(50);
    int fd = somebody(SOCK_DGRAM); /* connect: EPROTOTYPE */
    assert_int_equal(listen_there(&file), -1);
    assert_contains(err.text, "whether its server lives cannot be told");
    assert_int_equal(mode_of(path) & S_IFMT, S_IFSOCK);
    close(fd);
    unlink(path);
    int fds[8];
    fd = somebody(SOCK_STREAM); /* a server that is stuck, with a full queue: EAGAIN */
    assert_int_equal(listen(fd, 0), 0);
    struct oar_address a = address_of(path);
    for (size_t i = 0; i < OAR_ARRAY_LEN(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], &a.any, a.len);
    }
    assert_int_equal(listen_there(&file), -1);
    assert_contains(err.text, "another server listens there");
    for (size_t i = 0; i < OAR_ARRAY_LEN(fds); i++) {
        close(fds[i]);
    }
    close(fd);
    fd = listen_there(&file); /* refused: its server is gone */
    assert_true(fd >= 0);
    oar_net_close(fd, &file);
    FILE *plain = fopen(path, "w");
    fclose(plain);
    assert_int_equal(listen_there(&file), -1);
    assert_contains(err.text, "is not a socket");
}

static void a_socket_that_cannot_be_given_is_removed(void **state)
{
    const struct oar_listen_options wrong = {16, "666", "nobody-here"};
    struct oar_unix_file file;
    struct oar_address address;
    char text[160];
    int fd;
    (void)state;
    name_path(40);
    snprintf(text, sizeof text, "unix:%s", path);
    assert_int_equal(oar_net_parse(text, &address, &err), OAR_OK);
    assert_int_equal(oar_net_listen(&address, text, &wrong, &fd, &file, &err), OAR_ERR);
    assert_contains(err.text, "there is no such user");
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_length_is_whole, set_up, clean_up),
        cmocka_unit_test_setup_teardown(links_are_not_followed, set_up, clean_up),
        cmocka_unit_test_setup_teardown(only_our_own_file_is_removed, set_up, clean_up),
        cmocka_unit_test_setup_teardown(only_a_refused_connection_is_stale, set_up, clean_up),
        cmocka_unit_test_setup_teardown(a_socket_that_cannot_be_given_is_removed, set_up, clean_up),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
