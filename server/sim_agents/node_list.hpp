// Node lists of published cluster traces as simulated agents.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/sim_agents.hpp"

namespace bai::server {

inline constexpr std::size_t kNodeListRowsMax = 100'000;

// The text of a node list in the format of the openb trace (cluster-trace-gpu-v2023): comma
// separated, a header line naming at least these columns, in any order:
//   sn          agent id
//   cpu_milli   slot `cpu`, 1/1000 core
//   memory_mib  slot `mem`, MiB
//   gpu         `gpu_slot` ("cuda.device"), whole devices; no such slot where it is 0
//   model       model name of the accelerators; may be empty
// Keeps every `every`-th row, the first included. InvalidArgument names line and column.
Result<std::vector<SimAgentSpec>> parse_node_list(std::string_view text, std::size_t every = 1,
                                                  std::string_view gpu_slot = "cuda.device");

// NotFound when the file cannot be opened; otherwise as above.
Result<std::vector<SimAgentSpec>> load_node_list(const std::string& path, std::size_t every = 1,
                                                 std::string_view gpu_slot = "cuda.device");

}  // namespace bai::server
