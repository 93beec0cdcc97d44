// Everything that can happen to a session of two kernels, one by one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness.hpp"

namespace bai::test {

struct Input {
  std::string name;
  std::function<void(World&)> run;
  // After it, the first kernel's agent itself has said that the kernel is gone.
  bool testifies = false;
};

// `kernel` is the session's first kernel, on agent `home`.
std::vector<Input> all_inputs(const SessionId& session, const KernelId& kernel, const char* home);

// A session in that status with kernels in these, as rows and nothing else. `agents` are theirs.
struct Situation {
  SessionStatus session;
  std::vector<KernelStatus> kernels;
};
const std::vector<Situation>& all_situations();
void arrange(World& world, const SessionId& id, const Situation& situation,
             const std::vector<const char*>& agents);

std::string name_of(const Situation& situation);

}  // namespace bai::test
