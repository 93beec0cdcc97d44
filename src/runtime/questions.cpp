// Questions to the planner: asked on the loop, answered by the planner's thread, in order.
#include <fmt/format.h>

#include "runtime/manager_impl.hpp"

namespace bai {

// Questions that the planner has not answered yet; beyond, callers get Unavailable.
constexpr std::size_t kQuestionsMax = 64;

void Manager::Impl::ask_planner(Caller caller, const action::ActionInfo& info,
                                std::shared_ptr<void> body, action::ErasedReply reply) {
  auto shared = std::make_shared<action::ErasedReply>(std::move(reply));
  env_.loop.post(
      [weak = weak_from_this(), caller = std::move(caller), &info, body = std::move(body), shared] {
        const auto self = weak.lock();
        if (!self || self->closed_) {
          return (*shared)(
              fail(ErrorCode::Unavailable, "The manager is closing", "service-unavailable"));
        }
        if (!self->abandoned_) self->put_question(caller, info, body.get(), std::move(*shared));
      });
}

// The planner has been given every change of the published state, and none after it.
void Manager::Impl::put_question(const Caller& caller, const action::ActionInfo& info,
                                 const void* body, action::ErasedReply reply) {
  if (questions_.size() >= kQuestionsMax) {
    return reply(fail(ErrorCode::Unavailable,
                      fmt::format("Too many questions are waiting ({})", kQuestionsMax),
                      "service-unavailable"));
  }
  const SnapshotPtr published = snapshot();
  const auto find = [&](const SessionId& id) { return published->find<Session>(id); };
  if (auto ok = action::check_permission(info, caller, body, find); !ok) {
    return reply(std::unexpected(ok.error()));
  }
  State copy;
  copy.restore(published->state());
  Changeset changes(copy);
  core::Outbox outbox;
  Timestamp last_created = last_created_, last_recorded = last_recorded_;
  core::Context ctx{changes, outbox, now(), env_.entropy, options_, last_created, last_recorded};
  auto question = info.ask(ctx, caller, body);
  if (!question) return reply(std::unexpected(std::move(question.error())));
  const std::uint64_t number = next_question_++;
  questions_.emplace(number, std::move(reply));
  auto asked = std::make_shared<const service::Question>(std::move(*question));
  env_.planner.post(guarded([asked, number, at = ctx.now, seed = env_.entropy.next()](Impl& self) {
    Prospect prospect = self.planner_->what_if(asked->changes, asked->session, at, seed);
    self.env_.loop.post(
        self.guarded([asked, number, prospect = std::move(prospect)](Impl& loop) mutable {
          const auto waiting = loop.questions_.find(number);
          if (waiting == loop.questions_.end()) return;
          action::ErasedReply answer = std::move(waiting->second);
          loop.questions_.erase(waiting);
          auto result = service::answer(*asked, prospect);
          if (!result) return answer(std::unexpected(std::move(result.error())));
          answer(std::make_shared<WhatIf::Result>(std::move(*result)));
        }));
  }));
}

}  // namespace bai
