// The program that a Python kernel's interpreter runs.
#pragma once

#include <string_view>

namespace bai::server::local {

// Speaks the frames of frame_stream.hpp on descriptor 3 and reads barriers' answers (4 bytes, big
// endian) from descriptor 4.
//   in:  {"op": "run", "code": TEXT} | {"op": "input", "n": N, "text": TEXT}
//        {"op": "complete", "text": TEXT, "options": {...}}
//   out: {"event": "ready"} | {"event": "finished", "exitCode": N}
//        {"event": "input", "n": N, "password": BOOL} | {"event": "completions", "items": [...]}
//        {"event": "barrier", "n": N}: everything written so far belongs before what follows
// What the user's code prints goes to the process's own standard output and error.
std::string_view python_runner();

// The same for bash: NUL-terminated commands on descriptor 3, one decimal exit code a line on 4.
std::string_view shell_runner();

}  // namespace bai::server::local
