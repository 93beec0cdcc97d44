// What Python tells the engine, read strictly: unknown names are InvalidArgument.
#pragma once

#include "bai_manager/actions.hpp"
#include "bai_manager/manager.hpp"
#include "bai_manager/sim_agents.hpp"
#include "common.hpp"

namespace bai::python {

// {"agent_timeout": 40, ...}: the members of Options; durations in seconds.
void read_options(const py::dict& given, Options& options);
// {"create": (1, 3), "heartbeat_interval": 3, ...}: the members of SimBehaviour.
SimBehaviour read_behaviour(const py::dict& given);
SimAgentSpec read_agent(const py::dict& given);
// The members of CreateSession, snake_case.
CreateSession read_session(const py::dict& given, const SlotTypes& types, Timestamp start);

}  // namespace bai::python
