#include "sim_agents/node_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>
#include <sstream>

namespace bai::server {
namespace {

enum Column : std::size_t { kName, kCpu, kMemory, kGpu, kModel, kColumns };
constexpr std::array<std::string_view, kColumns> kColumnNames = {"sn", "cpu_milli", "memory_mib",
                                                                 "gpu", "model"};
constexpr std::int64_t kNumberMax = std::int64_t{1} << 40;

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> cells;
  for (;;) {
    const auto comma = line.find(',');
    cells.push_back(line.substr(0, comma));
    if (comma == line.npos) return cells;
    line.remove_prefix(comma + 1);
  }
}

Result<std::int64_t> number(std::string_view text, std::size_t line, Column column) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value > kNumberMax) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("line {}, column {}: '{}' is not a whole number from 0 to {}", line,
                            kColumnNames[column], text, kNumberMax));
  }
  return value;
}

using Positions = std::array<std::size_t, kColumns>;

Result<Positions> read_header(const std::vector<std::string_view>& cells) {
  Positions positions{};
  for (std::size_t column = 0; column < kColumns; ++column) {
    const auto found = std::ranges::find(cells, kColumnNames[column]);
    if (found == cells.end()) {
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("line 1: the header has no column {} (wanted: {})",
                              kColumnNames[column], fmt::join(kColumnNames, ",")));
    }
    positions[column] = static_cast<std::size_t>(found - cells.begin());
  }
  return positions;
}

Result<SimAgentSpec> read_row(const std::vector<std::string_view>& cells, const Positions& at,
                              std::size_t line, std::string_view gpu_slot) {
  const auto cell = [&](Column column) { return cells[at[column]]; };
  SimAgentSpec spec;
  if (cell(kName).empty()) {
    return fail(ErrorCode::InvalidArgument, fmt::format("line {}, column sn: empty", line));
  }
  spec.id = AgentId(cell(kName));
  const auto cpu = number(cell(kCpu), line, kCpu);
  const auto memory = number(cell(kMemory), line, kMemory);
  const auto gpu = number(cell(kGpu), line, kGpu);
  for (const auto* value : {&cpu, &memory, &gpu}) {
    if (!*value) return std::unexpected(value->error());
  }
  if (*memory > (kNumberMax >> 10)) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("line {}, column memory_mib: {} MiB is too much", line, *memory));
  }
  spec.capacity.set("cpu", Amount{*cpu});
  spec.capacity.set("mem", Amount{*memory << 20});
  if (*gpu > 0) {
    spec.capacity.set(gpu_slot, Amount{*gpu * units_per_one(spec.slot_types.type_of(gpu_slot))});
    spec.accelerator_model = std::string(cell(kModel));
  }
  return spec;
}

}  // namespace

Result<std::vector<SimAgentSpec>> parse_node_list(std::string_view text, std::size_t every,
                                                  std::string_view gpu_slot) {
  if (every == 0) return fail(ErrorCode::InvalidArgument, "every: 0; 1 keeps all rows");
  std::vector<SimAgentSpec> specs;
  std::set<AgentId> ids;
  std::optional<Positions> positions;
  std::size_t columns = 0, line = 0, row = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    std::string_view content = text.substr(0, end);
    text = end == text.npos ? std::string_view{} : text.substr(end + 1);
    ++line;
    if (content.ends_with('\r')) content.remove_suffix(1);
    if (content.empty()) continue;
    const auto cells = split(content);
    if (!positions) {
      auto header = read_header(cells);
      if (!header) return std::unexpected(header.error());
      positions = *header;
      columns = cells.size();
      continue;
    }
    if (cells.size() != columns) {
      return fail(ErrorCode::InvalidArgument, fmt::format("line {}: {} columns, the header has {}",
                                                          line, cells.size(), columns));
    }
    if (row++ % every != 0) continue;
    if (specs.size() == kNodeListRowsMax) {
      return fail(ErrorCode::InvalidArgument, fmt::format("more than {} nodes", kNodeListRowsMax));
    }
    auto spec = read_row(cells, *positions, line, gpu_slot);
    if (!spec) return std::unexpected(spec.error());
    if (!ids.insert(spec->id).second) {
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("line {}: the node {} is listed twice", line, spec->id.view()));
    }
    specs.push_back(std::move(*spec));
  }
  if (specs.empty()) return fail(ErrorCode::InvalidArgument, "the node list holds no nodes");
  return specs;
}

Result<std::vector<SimAgentSpec>> load_node_list(const std::string& path, std::size_t every,
                                                 std::string_view gpu_slot) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(ErrorCode::NotFound, fmt::format("{}: cannot be opened", path));
  std::ostringstream text;
  text << file.rdbuf();
  auto specs = parse_node_list(text.view(), every, gpu_slot);
  if (!specs) specs.error().message = fmt::format("{}: {}", path, specs.error().message);
  return specs;
}

}  // namespace bai::server
