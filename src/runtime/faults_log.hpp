// One line in the log for everything that an operator should hear of: agents that come, go and are
// lost; sessions that fail to start, and those that are given up.
#pragma once

#include <span>

#include "bai_manager/env.hpp"
#include "bai_manager/snapshot.hpp"
#include "model/changeset.hpp"

namespace bai::runtime {

// `changes` are durable and `now` is what they led to.
void log_faults(std::span<const Change> changes, const Snapshot& now, LogSink& log);

}  // namespace bai::runtime
