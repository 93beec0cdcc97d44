// Policies written in Python, behind the interfaces of policy.hpp.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "bai_manager/policy.hpp"
#include "common.hpp"

namespace bai::python {

inline constexpr std::size_t kPolicyErrorsMax = 200;  // remembered; the oldest are dropped

// What the policies of one engine leave behind. Guarded by the GIL, except where it says otherwise.
class PolicyHost {
 public:
  static std::shared_ptr<PolicyHost> make();  // its end takes the GIL

  // Records that `policy`'s `method` failed; the text for the planner's report.
  std::string note(const std::string& policy, const std::string& method, const std::string& text,
                   py::object exception);
  py::list errors() const { return errors_; }

  // What must end the call that drives the world: KeyboardInterrupt and the like, from wherever it
  // came. The first one is kept.
  void keep(py::error_already_set& error);
  bool is_interrupted() const noexcept { return interrupted_.load(); }  // any thread, no GIL
  // Raises what was kept, if anything.
  void rethrow();

 private:
  py::list errors_;
  py::object type_, value_, trace_;
  std::atomic<bool> interrupted_{false};
};

// `policy` is an object with the method of that kind: order(view), check(view, session) or
// select(view, demand, candidates). The registry keeps it alive.
void add_python_policy(PolicyRegistry& registry, const std::string& kind, const std::string& name,
                       py::object policy, const std::shared_ptr<PolicyHost>& host);

}  // namespace bai::python
