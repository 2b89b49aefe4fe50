/* One error of each kind that the sanitizers have to see, before they are believed not to have
 * seen any. Compiled as the extension modules are; scripts/memory/probe.py calls one by name. */
#include <stdlib.h>

int past_the_heap(const char *text, int length);
int past_an_object(const char *text, int length);
int after_free(const char *text, int length);
int freed_twice(const char *text, int length);
int past_the_stack(const char *text, int length);
int overflow(const char *text, int length);
int misaligned(const char *text, int length);

int past_the_heap(const char *text, int length)
{
    char *memory = calloc(1, (size_t)length);
    int found = memory[length] + text[0];
    free(memory);
    return found;
}

/* The memory of a Python object: its allocator has to be the one that is watched. */
int past_an_object(const char *text, int length)
{
    return text[length + 1];
}

int after_free(const char *text, int length)
{
    char *volatile memory = calloc(1, (size_t)length);
    free(memory);
    return memory[0] + text[0];
}

int freed_twice(const char *text, int length)
{
    char *volatile memory = calloc(1, (size_t)length);
    free(memory);
    free(memory);
    return text[0];
}

int past_the_stack(const char *text, int length)
{
    char memory[16] = {0};
    char *volatile place = memory;
    return place[length / 2] + text[0];
}

int overflow(const char *text, int length)
{
    return length * 0x7fffffff + text[0];
}

int misaligned(const char *text, int length)
{
    return *(const int *)(text + 1) + length;
}
