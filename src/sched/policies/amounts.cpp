#include "sched/policies/amounts.hpp"

#include "sched/agent_table.hpp"

namespace bai::sched {

AmountOptions read_amount_options(PolicyOptions& options) {
  constexpr std::int64_t kScaleMax = 1'000'000;
  AmountOptions read;
  read.cpu = options.text("cpu", "cpu");
  read.device = options.text("device", "");
  read.cpu_scale = 1000.0 * static_cast<double>(options.integer("cpu_scale", 128, 1, kScaleMax));
  read.device_scale =
      1000.0 * static_cast<double>(options.integer("device_scale", 8, 1, kScaleMax));
  return read;
}

std::optional<SlotIndex> main_device_slot(const SchedView& view) {
  std::optional<SlotIndex> main;
  Int128 most = 0;
  for (SlotIndex slot = 0; slot < view.slot_count(); ++slot) {
    const std::string& name = view.slot_name(slot);
    if (!name.ends_with(".shares") && !name.ends_with(".device")) continue;
    // Of all agents: who takes sessions changes without raters being made anew.
    Int128 here = 0;
    for (AgentIndex a = 0; a < view.agent_count(); ++a) here += view.capacity(a, slot);
    // Where there is as much of two the name decides: numbers of slots depend on who came first.
    if (here < most || here == 0 || (here == most && view.slot_name(*main) < name)) continue;
    main = slot;
    most = here;
  }
  return main;
}

}  // namespace bai::sched
