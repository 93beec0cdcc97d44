// bai-sim: replays traces through the planner on virtual time and compares policies.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "sim/batch.hpp"
#include "sim/figures.hpp"
#include "sim/openb.hpp"
#include "sim/report.hpp"
#include "sim/synthetic.hpp"
#include "sim/text_input.hpp"

namespace {

using namespace bai;
using namespace bai::sim;

constexpr int kFailed = 1, kUsage = 2;
constexpr std::int64_t kBackfillDepthMax = 10'000;  // the engine's own

int report(const Error& error) {
  fmt::print(stderr, "bai-sim: {}\n", error.message);
  const bool input = error.code == ErrorCode::InvalidArgument || error.code == ErrorCode::NotFound;
  return input ? kUsage : kFailed;
}

struct Common {
  std::vector<std::string> policies;  // as given: names, separated by commas
  std::string name, plot;
  bool json = false;
};

int print(const Common& common, const std::vector<Column>& columns, const std::vector<Json>& rows) {
  const std::string text = common.json ? json_text(rows) : table(columns, rows);
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return 0;
  return report({ErrorCode::Unavailable, "The result cannot be written.", {}, {}});
}

// Looks up every name before anything runs.
template <class Policy>
Result<std::vector<const Policy*>> resolve(const Common& common,
                                           Result<const Policy*> (*find)(std::string_view)) {
  if (!common.plot.empty()) {
    if (auto can = check_plot(common.plot); !can) return std::unexpected(can.error());
  }
  std::vector<const Policy*> policies;
  for (std::string_view names : common.policies) {
    for (bool more = true; more;) {
      const auto comma = names.find(',');
      const std::string_view name = names.substr(0, comma);
      more = comma != names.npos;
      names.remove_prefix(more ? comma + 1 : names.size());
      if (name.empty()) {
        return fail(ErrorCode::InvalidArgument, "--policy: a name is empty; look for a comma.");
      }
      auto policy = find(name);
      if (!policy) return std::unexpected(policy.error());
      policies.push_back(*policy);
    }
  }
  return policies;
}

Progress to(ProgressReport& report) {
  return [&report](std::size_t done, std::size_t all, std::size_t waiting) {
    report.at(done, all, waiting);
  };
}

struct BatchSettings {
  std::string selector;  // empty: concentrated
  std::int64_t backfill_depth = kBackfillDepthMax;
};

// What is measured comes first: it is there even if gnuplot fails.
int print_and_draw(const Common& common, const std::vector<Column>& columns,
                   const std::vector<Json>& rows, const std::function<Figure()>& figure) {
  if (const int failed = print(common, columns, rows); failed != 0 || common.plot.empty()) {
    return failed;
  }
  const auto drawn = draw(figure(), common.plot);
  return drawn ? 0 : report(drawn.error());
}

int simulate_batch(const Common& common, const JobLog& log, const Machine& machine,
                   const BatchSettings& chosen, std::uint64_t seed) {
  const auto policies = resolve<BatchPolicy>(common, find_batch_policy);
  if (!policies) return report(policies.error());
  std::vector<Json> rows;
  std::vector<BatchRun> runs;
  for (const BatchPolicy* policy : *policies) {
    ProgressReport progress(fmt::format("{} {}", log.name, policy->name));
    ResourceGroup settings = policy->settings();
    if (!chosen.selector.empty()) settings.selector = chosen.selector;
    settings.policy_options.set("backfill_depth", chosen.backfill_depth);
    auto run = run_batch(log, machine, *policy, settings, seed, to(progress));
    if (!run) return report(run.error());
    rows.push_back(to_json(log, *run));
    if (!common.plot.empty()) runs.push_back(std::move(*run));
  }
  return print_and_draw(common, batch_columns(), rows, [&] { return batch_figure(log, runs); });
}

struct LogCommand {
  std::string file;
  std::int64_t procs = 0;
};

int run_log(const Common& common, const LogCommand& command, const BatchSettings& settings,
            bool philly) {
  const auto text = read_input(command.file);
  if (!text) return report(text.error());
  auto log = philly ? parse_philly(command.file, *text, command.procs)
                    : parse_swf(command.file, *text, command.procs);
  if (!log) return report(log.error());
  log->name = !common.name.empty() ? common.name
              : philly             ? fmt::format("Philly-{}", command.procs)
                                   : log_name(command.file);
  return simulate_batch(common, *log, one_pool(command.procs), settings, 0);
}

struct OpenbCommand {
  std::string nodes, pods, stream;
  std::optional<std::uint64_t> seed;
};

// "<list>.seed42.txt.gz" -> 42
std::optional<std::uint64_t> seed_of(const std::string& path) {
  const auto at = path.rfind(".seed");
  if (at == path.npos) return std::nullopt;
  std::uint64_t seed = 0;
  const char* digits = path.c_str() + at + 5;
  const auto [end, error] = std::from_chars(digits, path.c_str() + path.size(), seed);
  if (error != std::errc{} || (*end != '.' && *end != '\0')) return std::nullopt;
  return seed;
}

Result<OpenbTrace> read_openb(const Common& common, const OpenbCommand& command) {
  OpenbTrace trace;
  trace.podlist = common.name.empty() ? stem_of(command.pods) : common.name;
  const auto nodes = read_input(command.nodes);
  if (!nodes) return std::unexpected(nodes.error());
  const auto pods = read_input(command.pods);
  if (!pods) return std::unexpected(pods.error());
  const auto stream = read_input(command.stream);
  if (!stream) return std::unexpected(stream.error());
  auto node_rows = parse_nodes(command.nodes, *nodes);
  if (!node_rows) return std::unexpected(node_rows.error());
  auto pod_rows = parse_pods(command.pods, *pods);
  if (!pod_rows) return std::unexpected(pod_rows.error());
  trace.nodes = std::move(*node_rows);
  trace.pods = std::move(*pod_rows);
  if (auto read = parse_stream(command.stream, *stream, trace); !read) {
    return std::unexpected(read.error());
  }
  if (trace.capacity() > 0) return trace;
  return fail(ErrorCode::InvalidArgument, fmt::format("{}: no node has a GPU.", command.nodes));
}

int run_openb_command(const Common& common, const OpenbCommand& command) {
  const auto policies = resolve<PlacePolicy>(common, find_place_policy);
  if (!policies) return report(policies.error());
  const auto trace = read_openb(common, command);
  if (!trace) return report(trace.error());
  const auto seed = command.seed ? command.seed : seed_of(command.stream);
  for (const PlacePolicy* policy : *policies) {
    if (!policy->draws || seed) continue;
    return report({ErrorCode::InvalidArgument,
                   fmt::format("{}: its name does not say the seed (\".seed42.\"), which {} draws "
                               "from; give --seed.",
                               command.stream, policy->name),
                   {},
                   {}});
  }
  std::vector<Json> rows;
  std::vector<OpenbRun> runs;
  for (const PlacePolicy* policy : *policies) {
    ProgressReport progress(fmt::format("{} {}", trace->podlist, policy->name));
    auto run = run_openb(*trace, *policy, seed, to(progress));
    if (!run) return report(run.error());
    rows.push_back(to_json(*trace, *run));
    if (!common.plot.empty()) runs.push_back(std::move(*run));
  }
  return print_and_draw(common, openb_columns(), rows, [&] { return openb_figure(*trace, runs); });
}

void add_common(CLI::App& app, Common& common, bool needs_policy = true) {
  app.add_option("--policy", common.policies,
                 needs_policy ? "One or several, separated by commas"
                              : "One or several, separated by commas (default: FCFS)")
      ->required(needs_policy);
  app.add_flag("--json", common.json, "One object for each policy; a list of several");
  app.add_option("--plot", common.plot, "Also draw curves to this .png or .svg (with gnuplot)");
}

constexpr std::uint64_t kSeedMax = std::uint64_t{1} << 62;

struct Commands {
  Common common;
  LogCommand log;
  OpenbCommand openb;
  SyntheticOptions synthetic;
  BatchSettings batch;
  int status = 0;
};

void add_backfill_depth(CLI::App& app, BatchSettings& settings) {
  app.add_option("--backfill-depth", settings.backfill_depth,
                 "Conservative: how many of those that wait are promised a start; those behind "
                 "them wait (the server's default is 100)")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, kBackfillDepthMax));
}

void add_log_command(CLI::App& app, Commands& c, bool philly) {
  auto* sub = app.add_subcommand(
      philly ? "philly" : "swf",
      philly ? "Jobs of the Philly GPU trace (CSV); DRF is fair between virtual clusters"
             : "Jobs of a log in Standard Workload Format; DRF is fair between users (field 12)");
  sub->add_option("--log", c.log.file, "Job log, plain or gzip")->required();
  sub->add_option(philly ? "--gpus" : "--procs", c.log.procs, "Size of the machine")
      ->required()
      ->check(CLI::Range(std::int64_t{1}, kProcsMax));
  sub->add_option("--name", c.common.name, "What to call the log");
  add_common(*sub, c.common);
  add_backfill_depth(*sub, c.batch);
  sub->callback([&c, philly] { c.status = run_log(c.common, c.log, c.batch, philly); });
}

void add_openb_command(CLI::App& app, Commands& c) {
  auto* sub = app.add_subcommand("openb", "Pods of the openb trace, which share GPUs");
  sub->add_option("--nodes", c.openb.nodes, "Node list (CSV), plain or gzip")->required();
  sub->add_option("--pods", c.openb.pods, "Pod list (CSV), plain or gzip")->required();
  sub->add_option("--stream", c.openb.stream, "Order of nodes and arrivals, plain or gzip")
      ->required();
  sub->add_option("--seed", c.openb.seed,
                  "What Random draws from (default: in the stream's name, as .seed42.)")
      ->check(CLI::Range(std::uint64_t{0}, kSeedMax));
  sub->add_option("--name", c.common.name, "What to call the pod list");
  add_common(*sub, c.common);
  sub->callback([&c] { c.status = run_openb_command(c.common, c.openb); });
}

// Also of what is no number, which CLI::Range lets pass.
std::string load_error(const std::string& text) {
  double load = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, load);
  if (error == std::errc{} && rest == end && load >= 0.01 && load <= 100) return {};
  return fmt::format("{} is no number from 0.01 to 100", text);
}

void add_synthetic_command(CLI::App& app, Commands& c) {
  auto* sub = app.add_subcommand("synthetic", "Generated sessions on generated agents");
  sub->add_option("--agents", c.synthetic.agents, "How many agents")
      ->required()
      ->check(CLI::Range(std::int64_t{1}, kAgentsMax));
  sub->add_option("--sessions", c.synthetic.sessions, "How many sessions arrive")
      ->required()
      ->check(CLI::Range(std::int64_t{1}, kSessionsMax));
  sub->add_option("--seed", c.synthetic.seed, "Of everything that is drawn")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{0}, kSeedMax));
  sub->add_option("--load", c.synthetic.load, "Cores asked for as a share of those there are")
      ->capture_default_str()
      ->check(CLI::Validator(load_error, "0.01 to 100"));
  sub->add_option("--selector", c.batch.selector, "How agents are chosen (default: concentrated)");
  add_common(*sub, c.common, false);
  add_backfill_depth(*sub, c.batch);
  sub->callback([&c] {
    if (c.common.policies.empty()) c.common.policies = {"FCFS"};
    const Synthetic made = generate(c.synthetic);
    c.status = simulate_batch(c.common, made.log, made.machine, c.batch, c.synthetic.seed);
  });
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Scheduling policies on recorded and generated work, on virtual time"};
  app.require_subcommand(1);
  Commands commands;
  add_log_command(app, commands, false);
  add_log_command(app, commands, true);
  add_openb_command(app, commands);
  add_synthetic_command(app, commands);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  return commands.status;
}
