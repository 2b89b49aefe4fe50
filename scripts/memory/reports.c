/* Loaded behind the runtimes of both sanitizers. Both export __sanitizer_set_report_path, so the
 * second one's own call, for its log_path, ends in the first one, and its reports would go where
 * pytest keeps what tests print. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>

__attribute__((constructor)) static void send_reports(void)
{
    void *runtime = dlopen("libubsan.so.1", RTLD_NOW | RTLD_NOLOAD);
    const char *path = getenv("NORIA_SANITIZER_REPORTS");
    void (*set_path)(const char *);
    if (runtime == NULL || path == NULL) return;
    *(void **)&set_path = dlsym(runtime, "__sanitizer_set_report_path");
    if (set_path != NULL) set_path(path);
}
