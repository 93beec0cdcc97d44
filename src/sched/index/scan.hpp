// Looks at every agent: what the index must agree with, and what it does where no order pays.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "sched/agent_table.hpp"

namespace bai::sched {

// Says whether an agent may be chosen; refers to a callable that outlives it. Empty: any may.
class AgentTest {
 public:
  AgentTest() = default;
  template <class F>
  AgentTest(const F& test)  // NOLINT(google-explicit-constructor): callables are passed as they are
      : test_(&test), call_([](const void* t, AgentIndex agent) {
          return static_cast<bool>((*static_cast<const F*>(t))(agent));
        }) {}
  bool operator()(AgentIndex agent) const { return call_ == nullptr || call_(test_, agent); }

 private:
  const void* test_ = nullptr;
  bool (*call_)(const void*, AgentIndex) = nullptr;
};

// A part of the key as it is compared; the smallest first.
std::int64_t key_value(const AgentTable& agents, const Requirement& requirement, AgentIndex agent,
                       const KeyPart& part) noexcept;

// By key, then by agent.
bool comes_before(const AgentTable& agents, const Requirement& requirement, AgentIndex a,
                  AgentIndex b, std::span<const KeyPart> key) noexcept;

// The agent with the smallest key, the first among equals, of those that AgentTable::match and
// `test` take.
std::optional<AgentIndex> scan_best(const AgentTable& agents, const Requirement& requirement,
                                    std::span<const KeyPart> key, std::uint32_t container_limit,
                                    const AgentTest& test);

}  // namespace bai::sched
