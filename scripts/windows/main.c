/* python.exe: hands the command line to the Python in python311.dll. */
#include <wchar.h>

__declspec(dllimport) int Py_Main(int argc, wchar_t **argv);

int _dowildcard = 0; /* A `*` in an argument is the program's, not the C runtime's. */

int wmain(int argc, wchar_t **argv)
{
    return Py_Main(argc, argv);
}
