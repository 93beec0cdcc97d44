// What policies written in Python see of a pass: light objects over SchedView that are of use until
// the call they were made for ends; afterwards they raise RuntimeError instead of reading memory
// that is gone.
#pragma once

#include <memory>
#include <optional>

#include "bai_manager/policy.hpp"
#include "common.hpp"

namespace bai::python {

struct Pass {
  const SchedView* view = nullptr;  // null: over
};

// Ends the pass of a call when it goes out of scope.
class PassScope {
 public:
  explicit PassScope(const SchedView& view) : pass_(std::make_shared<Pass>(Pass{&view})) {}
  ~PassScope() { pass_->view = nullptr; }
  PassScope(const PassScope&) = delete;
  PassScope& operator=(const PassScope&) = delete;
  const std::shared_ptr<Pass>& pass() const noexcept { return pass_; }

 private:
  std::shared_ptr<Pass> pass_;
};

struct ViewHandle {
  std::shared_ptr<Pass> pass;
};
struct PendingHandle {
  std::shared_ptr<Pass> pass;
  const PendingSession* session = nullptr;
  std::optional<PendingIndex> index;  // set where a sequencer got it
};
struct DemandHandle {
  std::shared_ptr<Pass> pass;
  const Demand* demand = nullptr;
};
struct CandidatesHandle {
  std::shared_ptr<Pass> pass;
  const Candidates* candidates = nullptr;
};
struct QueueHandle {
  std::shared_ptr<Pass> pass;
  std::unique_ptr<Ordering> ordering;
};

// {"cpu": 2000, ...}
py::dict units_by_name(const SchedView& view, const std::vector<SlotRequest>& slots);

}  // namespace bai::python
