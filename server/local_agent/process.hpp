// Starting, watching and ending operating-system processes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/result.hpp"
#include "local_agent/fd.hpp"

namespace bai::server::local {

// A kernel's processes carry this variable with the kernel's directory as its value; it is how they
// are found when their supervisor has been killed.
inline constexpr std::string_view kKernelMarker = "BAI_KERNEL_DIR";

struct ProcessLimits {
  std::int64_t data_bytes = 0;      // RLIMIT_DATA of each process; 0: unlimited
  std::int64_t open_files = 65536;  // lowered to the hard limit
};

struct ProcessSpec {
  std::vector<std::string> argv;  // argv[0] is the path of the program
  std::map<std::string, std::string> environ;
  std::string directory;
  ProcessLimits limits;
  int out = -1, err = -1;                      // the child's 1 and 2; standard input is /dev/null
  std::vector<std::pair<int, int>> inherited;  // (descriptor here, number in the child), >= 3
};

// In a session and process group of its own, dying with the calling process. Only for a process
// with one thread. Unavailable when it cannot be started.
Result<pid_t> start_process(const ProcessSpec& spec);

// The supervisor: `program` in a session of its own, surviving its parent. `channel` becomes
// descriptor 3; standard error goes to supervisor.log in `directory`, the other standard streams to
// /dev/null; everything else is closed. Any thread.
Result<pid_t> start_detached(const std::string& program, const std::vector<std::string>& argv,
                             const std::string& directory, int channel);

struct Pipe {
  Fd read_end, write_end;  // close-on-exec; the read end does not block
};
Result<Pipe> make_pipe();

int exit_code_of(int wait_status);  // 128 + signal when killed

// Every living descendant of `root`, itself not included. Complete for a child subreaper.
std::vector<pid_t> descendants_of(pid_t root);

// Kills whatever runs with kKernelMarker set to `kernel_dir`, until nothing is left. Returns how
// many were killed. Sees only processes of the same user.
std::size_t sweep_kernel_processes(const std::string& kernel_dir);

}  // namespace bai::server::local
