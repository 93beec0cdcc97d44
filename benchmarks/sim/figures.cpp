#include "sim/figures.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace bai::sim {

namespace {

constexpr std::size_t kBins = 36;     // of a curve over time
constexpr std::size_t kPoints = 500;  // of a curve over jobs or arrivals

// The time-weighted mean of `value(sample)` in each of kBins parts of the time until `end`.
template <class ValueOf>
Series over_time(const BatchRun& run, std::int64_t end, ValueOf&& value_of) {
  constexpr double kDay = 86'400;
  const double width = static_cast<double>(end) / static_cast<double>(kBins);
  std::vector<double> sums(kBins, 0);
  for (std::size_t i = 0; i < run.samples.size(); ++i) {
    const double until = i + 1 < run.samples.size() ? static_cast<double>(run.samples[i + 1].time)
                                                    : static_cast<double>(end);
    const double value = value_of(run.samples[i]);
    for (double from = static_cast<double>(run.samples[i].time); from < until;) {
      const auto bin = std::min(kBins - 1, static_cast<std::size_t>(from / width));
      const double edge = bin + 1 < kBins ? static_cast<double>(bin + 1) * width : until;
      const double to = std::min(until, std::max(edge, from + width * 1e-9));
      sums[bin] += value * (to - from);
      from = to;
    }
  }
  Series series{run.policy, {}};
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    series.points.emplace_back((static_cast<double>(bin) + 0.5) * width / kDay, sums[bin] / width);
  }
  return series;
}

// The share of jobs (%) that wait at most so long (hours).
Series waiting_times(const JobLog& log, const BatchRun& run) {
  constexpr double kHour = 3600, kLeast = 1.0 / 60;  // a minute: where the axis begins
  std::vector<std::int64_t> waits;
  for (std::size_t i = 0; i < log.jobs.size(); ++i) {
    waits.push_back(run.starts[i] - (log.jobs[i].submit - log.jobs.front().submit));
  }
  std::ranges::sort(waits);
  Series series{run.policy, {}};
  const std::size_t step = std::max<std::size_t>(1, waits.size() / kPoints);
  const auto all = static_cast<double>(waits.size());
  for (std::size_t i = 0; i < waits.size(); i += step) {
    series.points.emplace_back(std::max(kLeast, static_cast<double>(waits[i]) / kHour),
                               100.0 * static_cast<double>(i + 1) / all);
  }
  series.points.emplace_back(std::max(kLeast, static_cast<double>(waits.back()) / kHour), 100.0);
  return series;
}

template <class ValueOf>
Series over_arrivals(const OpenbTrace& trace, const OpenbRun& run, ValueOf&& value_of) {
  const auto capacity = static_cast<double>(trace.capacity());
  Series series{run.policy, {}};
  const std::size_t step = std::max<std::size_t>(1, run.decisions.size() / kPoints);
  for (std::size_t i = 0; i < run.decisions.size(); i += step) {
    const double arrived = 100.0 * static_cast<double>(run.decisions[i].arrived) / capacity;
    series.points.emplace_back(arrived, value_of(i));
  }
  return series;
}

}  // namespace

Figure batch_figure(const JobLog& log, const std::vector<BatchRun>& runs) {
  Figure figure;
  figure.title =
      fmt::format("{}: {} jobs on {} processors", log.name, log.jobs.size(), runs.front().procs);
  std::int64_t end = 1;
  for (const BatchRun& run : runs) {
    if (!run.samples.empty()) end = std::max(end, run.samples.back().time);
  }
  Panel busy{"Utilisation", "day", "% of processors", {}, false, "bottom center horizontal"};
  Panel queue{"Queue length", "day", "waiting jobs (0.1: none)", {}, false, ""};
  Panel idle{"Fragmentation: idle although jobs wait", "day", "% of processors", {}, false, ""};
  Panel waits{"Waiting time", "hours", "% of jobs that wait at most so long", {}, true, ""};
  busy.steps = queue.steps = idle.steps = true;
  queue.log_y = 0.1;
  for (const BatchRun& run : runs) {
    const auto percent = [&](std::int64_t procs) {
      return 100.0 * static_cast<double>(procs) / static_cast<double>(run.procs);
    };
    busy.series.push_back(over_time(run, end, [&](const Sample& s) { return percent(s.busy); }));
    queue.series.push_back(
        over_time(run, end, [&](const Sample& s) { return static_cast<double>(s.waiting); }));
    idle.series.push_back(over_time(run, end, [&](const Sample& s) {
      return s.waiting > 0 ? percent(run.procs - s.busy) : 0.0;
    }));
    waits.series.push_back(waiting_times(log, run));
  }
  figure.panels = {std::move(busy), std::move(queue), std::move(idle), std::move(waits)};
  return figure;
}

Figure openb_figure(const OpenbTrace& trace, const std::vector<OpenbRun>& runs) {
  const auto capacity = static_cast<double>(trace.capacity());
  Figure figure;
  const auto seed = runs.front().seed;
  figure.title = fmt::format("{}{}: {} pods on {} nodes", trace.podlist,
                             seed ? fmt::format(", seed {}", *seed) : std::string(),
                             trace.arrivals.size(), trace.nodes.size());
  const std::string x = "arrived GPU demand, % of capacity";
  Panel used{"GPU allocation", x, "% of capacity", {}, false, "bottom right"};
  Panel failed{"Pods without a place", x, "pods so far", {}, false, ""};
  Panel lost{"Fragmentation of what is free",
             x,
             "% of free GPU that the workload cannot use",
             {},
             false,
             ""};
  Panel lost_of_all{"Fragmentation", x, "% of capacity", {}, false, ""};
  for (const OpenbRun& run : runs) {
    std::vector<double> failures;
    for (const Decision& d : run.decisions) {
      const double before = failures.empty() ? 0 : failures.back();
      failures.push_back(before + (d.node == Decision::kNoNode ? 1 : 0));
    }
    const auto& all = run.decisions;
    used.series.push_back(over_arrivals(trace, run, [&](std::size_t i) {
      return 100.0 * static_cast<double>(all[i].allocated) / capacity;
    }));
    failed.series.push_back(over_arrivals(trace, run, [&](std::size_t i) { return failures[i]; }));
    lost.series.push_back(over_arrivals(trace, run, [&](std::size_t i) {
      const double idle = capacity - static_cast<double>(all[i].allocated);
      return idle > 0 ? 100.0 * all[i].fragmented / idle : 0.0;
    }));
    lost_of_all.series.push_back(over_arrivals(
        trace, run, [&](std::size_t i) { return 100.0 * all[i].fragmented / capacity; }));
  }
  figure.panels = {std::move(used), std::move(failed), std::move(lost), std::move(lost_of_all)};
  return figure;
}

}  // namespace bai::sim
