// What a resource group takes at all: types of sessions, images, and how many kernels a session of
// the user may have. Also checked when a session is created; settings may have changed since.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

constexpr const char* kKind = "session_check-limit_forbidden";

// Private (system) sessions serve others and are taken by every group.
class SessionTypes final : public Validator {
 public:
  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    if (session.type == SessionType::System) return;
    const auto& allowed = view.settings().allowed_session_types;
    if (std::ranges::find(allowed, to_string(session.type)) != allowed.end()) return;
    refusals.push_back(
        {"session-type", kKind,
         fmt::format("Resource group {} takes no {} sessions, only: {}.",
                     view.resource_group().str(), to_string(session.type),
                     allowed.empty() ? "none" : fmt::format("{}", fmt::join(allowed, ", "))),
         true, Timestamp{}});
  }
};

// `*` stands for any text, also an empty one, `?` for one character.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

class Images final : public Validator {
 public:
  explicit Images(std::vector<std::string> allowed) : allowed_(std::move(allowed)) {}

  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    if (allowed_.empty()) return;
    const std::string& image = view.image(session);
    if (std::ranges::any_of(allowed_, [&](const std::string& p) { return matches(p, image); })) {
      return;
    }
    refusals.push_back(
        {"image", kKind,
         fmt::format("Resource group {} does not take image {}, only: {}.",
                     view.resource_group().str(), base::quoted(image), fmt::join(allowed_, ", ")),
         true, Timestamp{}});
  }

 private:
  std::vector<std::string> allowed_;
};

class ContainerCount final : public Validator {
 public:
  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    const KeypairPolicy* policy = view.user_policy(session);
    if (policy == nullptr || policy->max_containers_per_session <= 0) return;
    std::int64_t kernels = 0;
    for (const Requirement& requirement : view.request(session).requirements) {
      kernels += requirement.containers;
    }
    if (kernels <= policy->max_containers_per_session) return;
    refusals.push_back({"container-count", kKind,
                        fmt::format("It has {} containers; a session of this user may have {}.",
                                    kernels, policy->max_containers_per_session),
                        true, Timestamp{}});
  }
};

}  // namespace

std::unique_ptr<const Validator> make_session_types(PolicyOptions&) {
  return std::make_unique<SessionTypes>();
}

// "allowed": names of images with * and ?; empty: all.
std::unique_ptr<const Validator> make_images(PolicyOptions& options) {
  return std::make_unique<Images>(options.texts("allowed"));
}

std::unique_ptr<const Validator> make_container_count(PolicyOptions&) {
  return std::make_unique<ContainerCount>();
}

}  // namespace bai::sched
