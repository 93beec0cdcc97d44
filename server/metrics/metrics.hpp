// Everything the server measures, in the names and labels of the reference manager, as Prometheus
// text. Label values come from closed sets only (route patterns, action and event names, error
// codes), so the number of series is bounded.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/manager.hpp"

namespace bai::server {

// The three words of an error_code such as "session_create_already-exists"; empty on success.
struct ErrorLabels {
  std::string_view domain, operation, detail;
};
ErrorLabels split_error_code(std::string_view error_code) noexcept;

// A value read when somebody asks for the metrics.
struct Sample {
  std::string name;  // with "_total" for a counter
  std::string help;
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;
  bool is_counter = false;
};

// Thread-safe.
class Metrics : public MetricsSink {
 public:
  Metrics();
  ~Metrics() override;

  // One answered request. `endpoint` is the route's pattern; `error_code` is empty on success.
  void api_done(std::string_view method, std::string_view endpoint, int status,
                std::string_view error_code, Duration took) noexcept;

  void action_done(std::string_view name, std::string_view entity, std::string_view operation,
                   const Error* error, Duration took) noexcept override;
  void agent_event_done(std::string_view name, bool accepted, Duration took) noexcept override;
  void agent_request_done(std::string_view method, bool ok, Duration took) noexcept override;
  void pass_done(Duration took, std::size_t placed, std::size_t waiting) noexcept override;
  void commit_done(std::size_t rows, bool ok, Duration took) noexcept override;

  // `collect` runs at each expose(), on its thread, until the returned guard is destroyed.
  using Collector = std::function<void(std::vector<Sample>&)>;
  using Guard = std::shared_ptr<void>;
  [[nodiscard]] Guard add_collector(Collector collect);

  // Text exposition format 0.0.4, process metrics included.
  std::string expose();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bai::server
