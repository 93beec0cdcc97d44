// Files and commands of simulated kernels.
#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/text.hpp"
#include "runtime/sim_agents_impl.hpp"

namespace bai {
namespace sim {
namespace {

constexpr std::size_t kTarBlock = 512;
constexpr double kSleepMost = 1e9;  // seconds

void put_text(std::uint8_t* field, std::size_t size, std::string_view text) {
  std::memcpy(field, text.data(), std::min(size, text.size()));
}

std::optional<double> parse_seconds(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (!(value >= 0 && value <= kSleepMost)) return std::nullopt;
  return value;
}

// One step; false when it is none that is understood.
bool take_step(std::string_view step, CommandOutcome& outcome, bool& is_over) {
  const auto space = step.find(' ');
  const std::string_view verb = step.substr(0, space);
  const std::string_view rest =
      space == step.npos ? std::string_view{} : base::trim(step.substr(space));
  if (verb == "sleep") {
    const auto value = parse_seconds(rest);
    if (!value) return false;
    outcome.takes = outcome.takes + nanoseconds(static_cast<std::int64_t>(*value * 1e9));
    return true;
  }
  if (verb == "echo") {
    outcome.output.append(rest).append("\n");
    return true;
  }
  if (verb != "exit") return false;
  const auto [end, error] =
      std::from_chars(rest.data(), rest.data() + rest.size(), outcome.exit_code);
  is_over = true;
  return rest.empty() || (error == std::errc{} && end == rest.data() + rest.size());
}

}  // namespace

std::optional<CommandOutcome> predict_command(std::string_view command) {
  CommandOutcome outcome;
  bool is_over = false, any = false;
  while (!command.empty() && !is_over) {
    const auto end = command.find(';');
    const std::string_view step = base::trim(command.substr(0, end));
    command = end == command.npos ? std::string_view{} : command.substr(end + 1);
    if (step.empty()) continue;
    if (!take_step(step, outcome, is_over)) return std::nullopt;
    any = true;
  }
  if (!any) return std::nullopt;
  return outcome;
}

Bytes make_tar(const std::vector<std::pair<std::string, const Bytes*>>& files) {
  Bytes archive;
  for (const auto& [name, data] : files) {
    std::array<std::uint8_t, kTarBlock> header{};
    put_text(header.data(), 100, name);
    put_text(header.data() + 100, 8, "0000644");
    put_text(header.data() + 108, 8, "0000000");
    put_text(header.data() + 116, 8, "0000000");
    put_text(header.data() + 124, 12, fmt::format("{:011o}", data->size()));
    put_text(header.data() + 136, 12, "00000000000");
    std::memset(header.data() + 148, ' ', 8);
    header[156] = '0';
    put_text(header.data() + 257, 8, std::string_view("ustar\00000", 8));
    unsigned sum = 0;
    for (const std::uint8_t byte : header) sum += byte;
    put_text(header.data() + 148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    archive.insert(archive.end(), header.begin(), header.end());
    archive.insert(archive.end(), data->begin(), data->end());
    archive.resize((archive.size() + kTarBlock - 1) / kTarBlock * kTarBlock);
  }
  archive.resize(archive.size() + 2 * kTarBlock);
  return archive;
}

Duration draw(runtime::Random& random, const DelayRange& range) {
  return nanoseconds(random.between(range.least.ns, range.most.ns));
}

}  // namespace sim

namespace {

constexpr std::string_view kWorkDir = "/home/work/";

// The name below the work directory, or nothing when the path leaves it.
std::optional<std::string> inside_work_dir(std::string_view path) {
  if (path.starts_with(kWorkDir)) path.remove_prefix(kWorkDir.size());
  if (path.starts_with("./")) path.remove_prefix(2);
  if (path.empty() || path.starts_with('/')) return std::nullopt;
  for (std::string_view rest = path; !rest.empty();) {
    const auto slash = rest.find('/');
    if (rest.substr(0, slash) == "..") return std::nullopt;
    rest = slash == rest.npos ? std::string_view{} : rest.substr(slash + 1);
  }
  return std::string(path);
}

Result<AgentReply> error(std::string_view kind, std::string message) {
  return fail(ErrorCode::Internal, std::move(message), std::string(kind));
}

Result<AgentReply> archive_of(const sim::FileMap& files, const std::string& path) {
  const auto name = inside_work_dir(path);
  if (!name) return error("PermissionError", "You cannot download files outside /home/work");
  const auto found = files.find(*name);
  if (found == files.end()) return error("FileNotFoundError", path);
  return AgentReply{{}, sim::make_tar({{found->first, &found->second}})};
}

}  // namespace

void SimAgent::Impl::on(ListFiles& request, AgentReplyHandler reply) {
  const LiveKernel* kernel = running(request.kernel);
  if (!kernel) return respond(std::move(reply), error("KeyError", to_string(request.kernel)));
  Json files = Json::array();
  for (const auto& [name, data] : kernel->files) {
    files.push_back(Json::object({{"mode", "-rw-r--r--"},
                                  {"size", static_cast<std::int64_t>(data.size())},
                                  {"ctime", 0},
                                  {"mtime", 0},
                                  {"atime", 0},
                                  {"filename", name}}));
  }
  AgentReply answer;
  answer.value =
      Json::object({{"files", files.dump()}, {"errors", ""}, {"abspath", std::string(kWorkDir)}});
  respond(std::move(reply), std::move(answer));
}

void SimAgent::Impl::on(UploadFile& request, AgentReplyHandler reply) {
  LiveKernel* kernel = running(request.kernel);
  if (!kernel) return respond(std::move(reply), error("KeyError", to_string(request.kernel)));
  const auto name = inside_work_dir(request.name);
  if (!name) {
    return respond(std::move(reply),
                   error("PermissionError", "You cannot upload files outside /home/work"));
  }
  kernel->files[*name] = std::move(request.data);
  respond(std::move(reply), AgentReply{});
}

void SimAgent::Impl::on(DownloadFile& request, AgentReplyHandler reply) {
  const LiveKernel* kernel = running(request.kernel);
  if (!kernel) return respond(std::move(reply), error("KeyError", to_string(request.kernel)));
  respond(std::move(reply), archive_of(kernel->files, request.path));
}

void SimAgent::Impl::on(DownloadSingle& request, AgentReplyHandler reply) {
  const LiveKernel* kernel = running(request.kernel);
  if (!kernel) return respond(std::move(reply), error("KeyError", to_string(request.kernel)));
  respond(std::move(reply), archive_of(kernel->files, request.path));
}

}  // namespace bai
