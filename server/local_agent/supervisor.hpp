// The small process that holds one kernel: it outlives the agent, and ends with the kernel.
#pragma once

namespace bai::server {

// Every program that embeds a LocalAgent (or is its `executable`) asks this first in main(), before
// it starts threads, and returns supervisor_main() when it is true.
bool is_supervisor_invocation(int argc, char** argv) noexcept;

// `PROGRAM supervise DIR`: DIR is a kernel's directory with its kernel.json. Descriptor 3 is the
// agent's channel. Returns the exit code of the process.
int supervisor_main(int argc, char** argv);

}  // namespace bai::server
