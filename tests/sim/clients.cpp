// What clients do.
#include <fmt/format.h>

#include "sim/simulation.hpp"

namespace bai::sim {

std::optional<Caller> Simulation::caller() const {
  auto ada = identify(*manager_->snapshot(), AccessKey("AKIAADA"));
  if (!ada) return std::nullopt;
  return std::move(*ada);
}

std::vector<SessionId> Simulation::live_sessions() const {
  std::vector<SessionId> live;
  for (const auto& [id, session] : accepted_) {
    if (!is_terminal(session.last)) live.push_back(id);
  }
  return live;
}

bool Simulation::is_from_dead(std::uint64_t restarts) {
  if (manager_ && restarts == totals_.restarts) return false;
  report("late-reply", "a dead manager has answered");
  return true;
}

void Simulation::act() {
  if (!manager_) return;
  const auto dice = random_.below(100);
  if (dice < 60) {
    const auto burst = random_.chance(0.15) ? random_.between(2, 8) : 1;
    for (std::int64_t i = 0; i < burst; ++i) create_session();
  } else if (dice < 82) {
    destroy_some();
  } else {
    call_agent();
  }
}

void Simulation::create_session() {
  auto creation = std::make_shared<Creation>();
  CreateSession& request = creation->request;
  request.name = fmt::format("session-{}", next_name_++);
  request.image = random_.chance(0.5) ? "local/python:3" : "example.org/lab/python:3.11";
  request.priority = random_.between(0, 20);
  request.job_priority = random_.between(0, 2);
  request.is_preemptible = random_.chance(0.8);
  request.slots = {{"cpu", Amount{random_.between(2, 6) * 500}},
                   {"mem", Amount{random_.between(3, 8) << 29}}};
  if (random_.chance(0.4)) request.project = "lab";
  if (random_.chance(0.2)) {
    request.slots.set("cuda.shares", Amount{random_.between(1, 4) * 250});
  }
  if (random_.chance(0.35)) {
    request.type = SessionType::Batch;
    request.startup_command =
        random_.chance(0.7) ? fmt::format("sleep {}", random_.between(0, 60)) : "train";
    request.batch_timeout = seconds(120);
  }
  if (random_.chance(0.2)) {
    request.cluster_size = random_.between(2, 3);
    request.cluster_mode = ClusterMode::MultiNode;
    request.slots = {{"cpu", Amount{1000}}, {"mem", Amount{3LL << 29}}};
  }
  creations_.push_back(creation);
  submit_creation(creation);
}

void Simulation::submit_creation(const std::shared_ptr<Creation>& creation) {
  if (!manager_ || creation->is_in_flight || creation->is_answered) return;
  const auto who = caller();
  if (!who) return report("lost-session", "the client's keypair is gone");
  creation->is_in_flight = true;
  note(fmt::format("create {}{}", creation->request.name, creation->was_repeated ? " again" : ""));
  const std::uint64_t asked = totals_.restarts;
  manager_->submit(*who, creation->request, [=, this](Result<CreateSession::Result> result) {
    if (is_from_dead(asked)) return;
    if (creation->is_answered) return report("double-reply", creation->request.name);
    creation->is_in_flight = false;
    const std::string& name = creation->request.name;
    if (!result && creation->was_repeated) {  // the first time may have made it
      note(fmt::format("{} is refused, again later", name));
      return world_.at(world_.now() + seconds(1), [=, this] { submit_creation(creation); });
    }
    creation->is_answered = true;
    std::erase(creations_, creation);
    if (!result) {
      note(fmt::format("{} is refused: {}", name, result.error().message));
      ++totals_.refused;
      if (result.error().code != ErrorCode::Unavailable) report("refused", result.error().message);
      refused_names_.insert(name);
      return;
    }
    note(fmt::format("{} is accepted as {}", name, to_string(result->id)));
    // Durable before visible, visible before answered.
    if (!manager_->snapshot()->find<Session>(result->id)) {
      return report("visibility", name + " was answered before it could be seen");
    }
    if (!creation->was_repeated && !result->created) {
      return report("created", name + " is said to have been there already");
    }
    ++totals_.accepted;
    if (!accepted_names_.emplace(name, result->id).second) {
      return report("created", name + " was accepted twice");
    }
    Accepted accepted;
    accepted.name = name;
    accepted.type = creation->request.type;
    accepted_.emplace(result->id, std::move(accepted));
  });
}

// After a crash the client does not know; it asks again under the same name.
void Simulation::repeat_creations() {
  const auto open = creations_;
  for (const auto& creation : open) {
    creation->was_repeated = true;
    submit_creation(creation);
  }
}

void Simulation::destroy_some() {
  const auto live = live_sessions();
  if (live.empty()) return;
  destroy_session(live[random_.below(live.size())], random_.chance(0.2));
}

void Simulation::destroy_session(const SessionId& id, bool forced) {
  const auto who = caller();
  if (!who) return report("lost-session", "the client's keypair is gone");
  accepted_[id].destroy_asked = true;
  had_force_ = had_force_ || forced;
  note(fmt::format("destroy {}{}", accepted_[id].name, forced ? " by force" : ""));
  ++calls_open_;
  DestroySession request;
  request.id = id;
  request.forced = forced;
  manager_->submit(
      *who, request, [this, id, asked = totals_.restarts](Result<DestroySession::Result> result) {
        if (is_from_dead(asked)) return;
        --calls_open_;
        if (result) {
          accepted_[id].destroy_done = true;
          return;
        }
        const ErrorCode code = result.error().code;
        // It may have ended by itself meanwhile; storage may be down.
        const Session* session = manager_->snapshot()->find<Session>(id);
        const bool has_ended = session && (is_terminal(session->status) ||
                                           session->status == SessionStatus::Terminating);
        if (code != ErrorCode::Unavailable && !has_ended) {
          report("refused",
                 fmt::format("destroying {}: {}", accepted_[id].name, result.error().message));
        }
      });
}

void Simulation::call_agent() {
  const auto live = live_sessions();
  const auto who = caller();
  if (live.empty() || !who) return;
  const SessionId id = live[random_.below(live.size())];
  ++calls_open_;
  ++totals_.calls;
  const auto answered = [this, asked = totals_.restarts](const Error* error, SessionStatus before) {
    if (is_from_dead(asked)) return;
    --calls_open_;
    const bool is_expected = !error || error->code == ErrorCode::Unavailable ||
                             error->code == ErrorCode::Conflict ||
                             error->code == ErrorCode::DeadlineExceeded ||
                             error->code == ErrorCode::Internal || before != SessionStatus::Running;
    // A kernel that died with its agent is missed there before it is noticed here.
    const bool is_lost_there =
        error && error->code == ErrorCode::NotFound && error->kind == "KeyError";
    if (!is_expected && !(is_lost_there && config_.agent_faults)) report("call", error->message);
  };
  const SessionStatus before = accepted_[id].last;
  if (config_.bug == Bug::DroppedReply && random_.chance(0.5)) return;
  if (random_.chance(0.5)) {
    ExecuteCode request;
    request.id = id;
    request.code = "print(1)";
    manager_->submit(*who, request, [=](Result<ExecuteCode::Result> result) {
      answered(result ? nullptr : &result.error(), before);
    });
  } else {
    SessionLogs request;
    request.id = id;
    manager_->submit(*who, request, [=](Result<SessionLogs::Result> result) {
      answered(result ? nullptr : &result.error(), before);
    });
  }
}

}  // namespace bai::sim
