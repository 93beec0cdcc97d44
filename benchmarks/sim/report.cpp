#include "sim/report.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace bai::sim {

namespace {

constexpr std::chrono::seconds kQuiet{2}, kBetween{1};

std::string cell(const Json& value) {
  if (value.is_null()) return "-";
  return value.is_string() ? std::string(value.as_string()) : value.dump();
}

}  // namespace

std::string table(const std::vector<Column>& columns, const std::vector<Json>& rows) {
  std::vector<std::size_t> widths;
  for (const Column& column : columns) {
    std::size_t width = column.title.size();
    for (const Json& row : rows) width = std::max(width, cell(row[column.key]).size());
    widths.push_back(width);
  }
  std::string out;
  const auto end_line = [&] {
    out.erase(out.find_last_not_of(' ') + 1);
    out += '\n';
  };
  const auto put = [&](std::size_t at, std::string_view text, bool right) {
    if (at > 0) out += "  ";
    out +=
        right ? fmt::format("{:>{}}", text, widths[at]) : fmt::format("{:<{}}", text, widths[at]);
  };
  const auto is_text = [&](const Column& column) {
    return std::ranges::any_of(rows, [&](const Json& row) { return row[column.key].is_string(); });
  };
  for (std::size_t i = 0; i < columns.size(); ++i) put(i, columns[i].title, !is_text(columns[i]));
  end_line();
  for (const Json& row : rows) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      put(i, cell(row[columns[i].key]), !row[columns[i].key].is_string());
    }
    end_line();
  }
  return out;
}

std::vector<Column> batch_columns() {
  return {{"log", "log"},
          {"P", "procs"},
          {"jobs", "jobs"},
          {"policy", "policy"},
          {"mean_wait", "mean wait s"},
          {"p50_wait", "p50"},
          {"p95_wait", "p95"},
          {"max_wait", "max wait s"},
          {"mean_bsld", "mean slowdown"},
          {"util", "utilisation"},
          {"makespan", "makespan s"},
          {"backfilled", "backfilled"},
          {"fnv64", "fnv64"}};
}

std::vector<Column> openb_columns() {
  return {{"podlist", "pod list"},
          {"policy", "policy"},
          {"seed", "seed"},
          {"arrivals", "arrivals"},
          {"placed", "placed"},
          {"failed_gpu", "failed GPU"},
          {"used_milli", "used milli"},
          {"alloc80", "@80 %"},
          {"alloc90", "@90 %"},
          {"alloc100", "@100 %"},
          {"alloc110", "@110 %"},
          {"alloc120", "@120 %"},
          {"alloc130", "@130 %"},
          {"frag_pct_of_idle", "frag % of idle"},
          {"fnv64", "fnv64"}};
}

std::string json_text(const std::vector<Json>& rows) {
  if (rows.size() == 1) return rows.front().dump() + "\n";
  std::string out = "[";
  for (const Json& row : rows) out += (out.size() > 1 ? ",\n " : "") + row.dump();
  return out + "]\n";
}

ProgressReport::ProgressReport(std::string what, std::FILE* out)
    : what_(std::move(what)),
      out_(out),
      terminal_(isatty(fileno(out)) != 0),
      next_(std::chrono::steady_clock::now() + kQuiet) {}

ProgressReport::~ProgressReport() {
  if (terminal_ && width_ > 0) fmt::print(out_, "\r{:{}}\r", "", width_);
}

void ProgressReport::at(std::size_t done, std::size_t all, std::size_t waiting) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + kBetween;
  const double share = all == 0 ? 0 : 100.0 * static_cast<double>(done) / static_cast<double>(all);
  std::string line =
      fmt::format("{}: {:.1f} %, {} of {}, {} waiting", what_, share, done, all, waiting);
  width_ = std::max(width_, line.size());
  line.resize(terminal_ ? width_ : line.size(), ' ');
  fmt::print(out_, "{}{}{}", terminal_ ? "\r" : "", line, terminal_ ? "" : "\n");
  std::fflush(out_);
}

}  // namespace bai::sim
