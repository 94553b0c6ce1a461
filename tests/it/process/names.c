/* Names that end in ".double" have the address that the file $DOUBLE_ADDRESS holds; while it is empty nobody can tell.
 * All others are looked up as ever. Loaded before the C library by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *end = name ? strrchr(name, '.') : NULL;
    const char *path = getenv("DOUBLE_ADDRESS");
    if (!end || strcmp(end, ".double") || !path)
        return real(name, service, hints, found);
    char address[64] = "";
    FILE *file = fopen(path, "r");
    if (file) {
        if (!fgets(address, sizeof address, file))
            address[0] = '\0';
        fclose(file);
    }
    return address[0] ? real(address, service, hints, found) : EAI_AGAIN;
}
