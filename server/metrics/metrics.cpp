#include "metrics/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <sstream>

#include "metrics/process.hpp"

namespace bai::server {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;

// Buckets of the reference manager.
const Histogram::BucketBoundaries kBuckets = {0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30};
const Histogram::BucketBoundaries kSchedulerBuckets = {0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30};

// Series of a counter and a histogram by their label values: one look-up for both, and no label
// map is built for a series that exists.
class SeriesCache {
 public:
  struct Series {
    Counter* count = nullptr;
    Histogram* duration = nullptr;
  };
  SeriesCache(Family<Counter>* counts, Family<Histogram>* durations,
              Histogram::BucketBoundaries buckets)
      : counts_(counts), durations_(durations), buckets_(std::move(buckets)) {}

  template <std::size_t N>
  void record(const std::array<std::pair<const char*, std::string_view>, N>& labels,
              Duration took) {
    std::string key;
    for (const auto& [name, value] : labels) key.append(value).push_back('\x1f');
    const Series series = find(key, labels);
    if (series.count) series.count->Increment();
    if (series.duration) series.duration->Observe(took.seconds());
  }

 private:
  template <class List>
  Series find(const std::string& key, const List& list) {
    std::scoped_lock lock(mutex_);
    auto [at, added] = series_.try_emplace(key);
    if (added) {
      Labels labels;
      for (const auto& [name, value] : list) labels.emplace(name, value);
      if (counts_) at->second.count = &counts_->Add(labels);
      if (durations_) at->second.duration = &durations_->Add(labels, buckets_);
    }
    return at->second;
  }

  Family<Counter>* counts_;
  Family<Histogram>* durations_;
  const Histogram::BucketBoundaries buckets_;
  std::mutex mutex_;
  std::unordered_map<std::string, Series> series_;
};

using Label = std::pair<const char*, std::string_view>;

// The last word of an error_code for an error of the library.
std::string_view detail_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "invalid-parameters";
    case ErrorCode::Unauthenticated:
      return "unauthorized";
    case ErrorCode::PermissionDenied:
      return "forbidden";
    case ErrorCode::NotFound:
      return "not-found";
    case ErrorCode::AlreadyExists:
      return "already-exists";
    case ErrorCode::Conflict:
      return "conflict";
    case ErrorCode::QuotaExceeded:
    case ErrorCode::Unschedulable:
    case ErrorCode::Unavailable:
      return "unavailable";
    case ErrorCode::DeadlineExceeded:
      return "timeout";
    case ErrorCode::Cancelled:
      return "canceled";
    case ErrorCode::Unsupported:
      return "not-implemented";
    case ErrorCode::Corruption:
      return "invalid-data-format";
    case ErrorCode::InDoubt:
    case ErrorCode::Internal:
      break;
  }
  return "internal-error";
}

std::string_view known_method(std::string_view method) noexcept {
  for (const std::string_view known :
       {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}) {
    if (method == known) return known;
  }
  return "OTHER";
}

prometheus::MetricFamily to_family(const Sample& sample) {
  prometheus::MetricFamily family;
  family.name = sample.name;
  family.help = sample.help;
  family.type = sample.is_counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  return family;
}

prometheus::ClientMetric to_metric(const Sample& sample) {
  prometheus::ClientMetric metric;
  for (const auto& [name, value] : sample.labels) metric.label.push_back({name, value});
  (sample.is_counter ? metric.counter.value : metric.gauge.value) = sample.value;
  return metric;
}

}  // namespace

ErrorLabels split_error_code(std::string_view code) noexcept {
  const auto first = code.find('_');
  const auto second = first == std::string_view::npos ? first : code.find('_', first + 1);
  if (second == std::string_view::npos) return {};
  return {code.substr(0, first), code.substr(first + 1, second - first - 1),
          code.substr(second + 1)};
}

struct Metrics::Impl {
  prometheus::Registry registry;
  ProcessStatistics process;
  std::mutex mutex;
  std::vector<std::weak_ptr<Collector>> collectors;

  Family<Counter>& counter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
  }
  Family<Histogram>& histogram(const char* name, const char* help) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
  }
  Gauge& gauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }

  SeriesCache api{&counter("backendai_api_request_count_total", "REST API requests received"),
                  &histogram("backendai_api_request_duration_sec",
                             "REST API request processing time in seconds"),
                  kBuckets};
  SeriesCache actions{
      &counter("backendai_action_count_total", "Actions executed"),
      &histogram("backendai_action_duration_sec", "Action execution time in seconds"), kBuckets};
  SeriesCache events{
      &counter("backendai_event_count_total", "Agent events processed"), nullptr, {}};
  SeriesCache event_times{
      nullptr,
      &histogram("backendai_event_processing_time_sec",
                 "Time from an agent event's arrival until it has been acted on"),
      kBuckets};
  SeriesCache event_failures{
      &counter("backendai_event_failure_count_total",
               "Agent events that were not acted on: stale, or about something unknown"),
      nullptr,
      {}};
  SeriesCache layers{
      &counter("backendai_layer_operation_count_total", "Layer operations completed"),
      &histogram("backendai_layer_operation_duration_sec",
                 "Layer operation execution time in seconds"),
      kBuckets};
  SeriesCache layer_errors{
      &counter("backendai_layer_operation_error_count_total", "Layer operations failed"),
      nullptr,
      {}};
  SeriesCache scheduler{&counter("backendai_scheduler_operation_count_total", "Scheduling passes"),
                        &histogram("backendai_scheduler_operation_duration_sec",
                                   "Execution time of a scheduling pass in seconds"),
                        kSchedulerBuckets};
  Counter& placed =
      counter("bai_scheduler_placed_total", "Sessions placed by scheduling passes").Add({});
  Gauge& waiting = gauge("bai_scheduler_waiting", "Sessions left waiting by the last pass");
  Counter& rows = counter("bai_storage_rows_written_total", "Rows committed to storage").Add({});
  Gauge& cpu = gauge("backendai_cpu_usage_percent",
                     "CPU usage of this process since the last "
                     "scrape, in percent of one core");
  Gauge& rss = gauge("backendai_memory_used_rss", "Resident memory of this process in bytes");
  Gauge& vms = gauge("backendai_memory_used_vms", "Virtual memory of this process in bytes");

  void record_layer(std::string_view domain, std::string_view layer, std::string_view operation,
                    bool ok, Duration took) {
    layers.record(std::array<Label, 4>{{{"domain", domain},
                                        {"layer", layer},
                                        {"operation", operation},
                                        {"success", ok ? "True" : "False"}}},
                  took);
    if (ok) return;
    layer_errors.record(std::array<Label, 4>{{{"domain", domain},
                                              {"layer", layer},
                                              {"operation", operation},
                                              {"error_code", "internal_error"}}},
                        took);
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::api_done(std::string_view method, std::string_view endpoint, int status,
                       std::string_view error_code, Duration took) noexcept {
  const auto error = split_error_code(error_code);
  const auto status_text = std::to_string(status);
  impl_->api.record(std::array<Label, 6>{{{"method", known_method(method)},
                                          {"endpoint", endpoint},
                                          {"domain", error.domain},
                                          {"operation", error.operation},
                                          {"error_detail", error.detail},
                                          {"status_code", status_text}}},
                    took);
}

void Metrics::action_done(std::string_view, std::string_view entity, std::string_view operation,
                          const Error* error, Duration took) noexcept {
  impl_->actions.record(
      std::array<Label, 6>{{{"entity_type", entity},
                            {"operation_type", operation},
                            {"status", error ? "failure" : "success"},
                            {"domain", error ? entity : std::string_view{}},
                            {"operation", error ? operation : std::string_view{}},
                            {"error_detail", error ? detail_of(error->code) : ""}}},
      took);
}

void Metrics::agent_event_done(std::string_view name, bool accepted, Duration took) noexcept {
  impl_->events.record(std::array<Label, 1>{{{"event_type", name}}}, {});
  impl_->event_times.record(std::array<Label, 5>{{{"event_type", name},
                                                  {"status", accepted ? "success" : "failure"},
                                                  {"domain", accepted ? "" : "event"},
                                                  {"operation", accepted ? "" : "request"},
                                                  {"error_detail", accepted ? "" : "mismatch"}}},
                            took);
  if (accepted) return;
  impl_->event_failures.record(std::array<Label, 5>{{{"event_type", name},
                                                     {"exception", "Ignored"},
                                                     {"domain", "event"},
                                                     {"operation", "request"},
                                                     {"error_detail", "mismatch"}}},
                               {});
}

void Metrics::agent_request_done(std::string_view method, bool ok, Duration took) noexcept {
  impl_->record_layer("client", "agent_client", method, ok, took);
}

void Metrics::pass_done(Duration took, std::size_t placed, std::size_t waiting) noexcept {
  impl_->scheduler.record(std::array<Label, 2>{{{"operation", "schedule"}, {"status", "success"}}},
                          took);
  impl_->placed.Increment(static_cast<double>(placed));
  impl_->waiting.Set(static_cast<double>(waiting));
}

void Metrics::commit_done(std::size_t rows, bool ok, Duration took) noexcept {
  impl_->record_layer("repository", "storage", "commit", ok, took);
  if (ok) impl_->rows.Increment(static_cast<double>(rows));
}

Metrics::Guard Metrics::add_collector(Collector collect) {
  auto shared = std::make_shared<Collector>(std::move(collect));
  std::scoped_lock lock(impl_->mutex);
  impl_->collectors.push_back(shared);
  return shared;
}

std::string Metrics::expose() {
  std::vector<Sample> samples;
  {
    std::scoped_lock lock(impl_->mutex);  // one scrape at a time
    impl_->process.update();
    std::erase_if(impl_->collectors, [](const auto& weak) { return weak.expired(); });
    for (const auto& weak : impl_->collectors) {
      if (const auto collect = weak.lock()) (*collect)(samples);
    }
    impl_->cpu.Set(impl_->process.cpu_percent());
    impl_->rss.Set(impl_->process.resident_bytes());
    impl_->vms.Set(impl_->process.virtual_bytes());
  }
  auto families = impl_->registry.Collect();
  for (const auto& sample : samples) {
    const auto at = std::ranges::find(families, sample.name, &prometheus::MetricFamily::name);
    auto& family = at != families.end() ? *at : families.emplace_back(to_family(sample));
    family.metric.push_back(to_metric(sample));
  }
  std::ostringstream out;
  prometheus::TextSerializer{}.Serialize(out, families);
  return std::move(out).str();
}

}  // namespace bai::server
