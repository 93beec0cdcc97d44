#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "sim/openb.hpp"
#include "sim/text_input.hpp"

namespace bai::sim {

namespace {

constexpr std::int64_t kMilliMax = 1'000'000'000;           // of cores
constexpr std::int64_t kMemoryMax = std::int64_t{1} << 32;  // MiB
constexpr std::int64_t kWorkloadPercent = 95;

// Reads whole-number columns one after the other; the first problem stays.
class Row {
 public:
  explicit Row(const Csv& csv) : csv_(csv) {}
  std::int64_t operator()(std::string_view column, std::int64_t max) {
    const auto value = csv_.integer(column, 0, max);
    if (!value && status_) status_ = std::unexpected(value.error());
    return value.value_or(0);
  }
  const Status& status() const noexcept { return status_; }

 private:
  const Csv& csv_;
  Status status_;
};

template <class Item, class Read>
Result<std::vector<Item>> read_rows(std::string_view file, std::string_view text,
                                    const std::vector<std::string_view>& columns, Read&& read) {
  auto csv = Csv::open(file, text, columns);
  if (!csv) return std::unexpected(csv.error());
  std::vector<Item> items;
  for (;;) {
    const auto more = csv->next();
    if (!more) return std::unexpected(more.error());
    if (!*more) break;
    Item item;
    if (auto fine = read(*csv, item); !fine) return std::unexpected(fine.error());
    items.push_back(std::move(item));
  }
  if (items.empty()) {
    return fail(ErrorCode::InvalidArgument, fmt::format("{}: has no rows.", file));
  }
  return items;
}

}  // namespace

Result<std::vector<GpuNode>> parse_nodes(std::string_view file, std::string_view text) {
  return read_rows<GpuNode>(file, text, {"cpu_milli", "memory_mib", "gpu", "model"},
                            [](const Csv& csv, GpuNode& node) -> Status {
                              Row row(csv);
                              node.cpu_milli = row("cpu_milli", kMilliMax);
                              node.memory_mib = row("memory_mib", kMemoryMax);
                              node.gpus = row("gpu", kGpusMax);
                              node.model = csv.text("model");
                              return row.status();
                            });
}

Result<std::vector<Pod>> parse_pods(std::string_view file, std::string_view text) {
  return read_rows<Pod>(
      file, text, {"cpu_milli", "memory_mib", "num_gpu", "gpu_milli"},
      [](const Csv& csv, Pod& pod) -> Status {
        Row row(csv);
        pod.cpu_milli = row("cpu_milli", kMilliMax);
        pod.memory_mib = row("memory_mib", kMemoryMax);
        pod.num_gpu = row("num_gpu", kGpusMax);
        pod.gpu_milli = row("gpu_milli", kGpuMilli);
        pod.gpu_spec = csv.text("gpu_spec");
        if (!row.status()) return row.status();
        if (pod.num_gpu > 0 && pod.gpu_milli == 0) {
          return fail_at(csv.place(), "num_gpu devices of which gpu_milli is 0.");
        }
        if (pod.num_gpu > 1 && pod.gpu_milli != kGpuMilli) {
          return fail_at(csv.place(), fmt::format("gpu_milli must be {} when num_gpu is more than "
                                                  "1, not {}.",
                                                  kGpuMilli, pod.gpu_milli));
        }
        if (pod.num_gpu == 0) pod.gpu_milli = 0;
        return {};
      });
}

namespace {

Result<std::vector<std::uint32_t>> read_order(Lines& lines, std::string_view heading,
                                              std::size_t rows) {
  if (!lines.next() || lines.line() != heading) {
    return fail_at(lines.place(), fmt::format("must be \"{}\".", heading));
  }
  if (!lines.next()) return fail_at(lines.place(), "a line of rows must follow.");
  std::vector<std::string_view> fields;
  split_blanks(lines.line(), fields);
  std::vector<std::uint32_t> order;
  for (const std::string_view field : fields) {
    const auto row =
        read_integer(lines.place(), "a row", field, 0, static_cast<std::int64_t>(rows) - 1);
    if (!row) return std::unexpected(row.error());
    order.push_back(static_cast<std::uint32_t>(*row));
  }
  if (order.empty()) return fail_at(lines.place(), "names no row.");
  return order;
}

}  // namespace

Status parse_stream(std::string_view file, std::string_view text, OpenbTrace& trace) {
  Lines lines(file, text);
  auto nodes = read_order(lines, "# nodes", trace.nodes.size());
  if (!nodes) return std::unexpected(nodes.error());
  auto sorted = *nodes;
  std::ranges::sort(sorted);
  if (sorted.size() != trace.nodes.size() || std::ranges::adjacent_find(sorted) != sorted.end()) {
    return fail_at(lines.place(),
                   fmt::format("must name each of the {} nodes once.", trace.nodes.size()));
  }
  auto pods = read_order(lines, "# pods", trace.pods.size());
  if (!pods) return std::unexpected(pods.error());
  trace.node_order = std::move(*nodes);
  trace.arrivals = std::move(*pods);
  return {};
}

std::vector<PodClass> target_workload(const std::vector<Pod>& pods) {
  using Kind = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::string>;
  std::map<Kind, std::int64_t> kinds;
  for (const Pod& pod : pods) ++kinds[{pod.cpu_milli, pod.gpu_milli, pod.num_gpu, pod.gpu_spec}];
  std::vector<PodClass> classes;
  for (const auto& [kind, count] : kinds) {
    const auto& [cpu, milli, num, spec] = kind;
    classes.push_back({count, cpu, milli, num, spec});
  }
  std::ranges::sort(classes, std::greater<>(), [](const PodClass& c) {
    return std::tuple(c.count, c.cpu_milli, c.gpu_milli, c.num_gpu, c.gpu_spec);
  });
  std::int64_t taken = 0;
  std::size_t size = 0;
  const auto all = static_cast<std::int64_t>(pods.size());
  while (size < classes.size() && taken * 100 < all * kWorkloadPercent) {
    taken += classes[size++].count;
  }
  classes.resize(size);
  return classes;
}

}  // namespace bai::sim
