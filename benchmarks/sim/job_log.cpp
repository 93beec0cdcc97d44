#include "sim/job_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "bai_manager/time.hpp"
#include "sim/text_input.hpp"

namespace bai::sim {

namespace {

// SWF fields, counted from 0.
constexpr std::size_t kSubmit = 1, kRun = 3, kProcs = 4, kProcsRequested = 7, kTimeRequested = 8,
                      kUser = 11;
constexpr std::size_t kSwfFields = 18;

void finish_log(JobLog& log) { std::ranges::stable_sort(log.jobs, {}, &Job::submit); }

Status check_not_empty(const JobLog& log, std::string_view file, std::int64_t procs) {
  if (!log.jobs.empty()) return {};
  return fail(ErrorCode::InvalidArgument,
              fmt::format("{}: holds no job that runs on {} processors.", file, procs));
}

// The rules that all logs share; false: left out.
bool keep(JobLog& log, Job& job, std::int64_t machine) {
  if (job.procs <= 0) return ++log.dropped.noprocs, false;
  if (job.run < 0) return ++log.dropped.norun, false;
  if (job.procs > machine) return ++log.dropped.toobig, false;
  if (job.run == 0) ++log.dropped.run0, job.run = 1;
  return true;
}

}  // namespace

Result<JobLog> parse_swf(std::string_view file, std::string_view text, std::int64_t procs) {
  JobLog log;
  std::vector<std::string_view> fields;
  Lines lines(file, text);
  while (lines.next()) {
    split_blanks(lines.line(), fields);
    if (fields.empty() || fields.front().starts_with(';')) continue;
    if (fields.size() < kSwfFields) {
      return fail_at(lines.place(), fmt::format("has {} fields; a job of the Standard Workload "
                                                "Format has {}.",
                                                fields.size(), kSwfFields));
    }
    const auto number = [&](std::size_t field, std::string_view what, std::int64_t min,
                            std::int64_t max) {
      return read_integer(lines.place(), fmt::format("field {} ({})", field + 1, what),
                          fields[field], min, max);
    };
    const auto submit = number(kSubmit, "submit time", 0, kSecondsMax);
    if (!submit) return std::unexpected(submit.error());
    const auto run = number(kRun, "run time", -1, kSecondsMax);
    if (!run) return std::unexpected(run.error());
    const auto allocated = number(kProcs, "allocated processors", -1, kProcsMax);
    if (!allocated) return std::unexpected(allocated.error());
    const auto requested = number(kProcsRequested, "requested processors", -1, kProcsMax);
    if (!requested) return std::unexpected(requested.error());
    const auto limit = number(kTimeRequested, "requested time", -1, kSecondsMax);
    if (!limit) return std::unexpected(limit.error());
    const auto user = number(kUser, "user", -1, kUsersMax);
    if (!user) return std::unexpected(user.error());

    Job job{.submit = *submit, .run = *run, .procs = *allocated > 0 ? *allocated : *requested};
    job.owner = static_cast<std::uint32_t>(*user + 1);
    if (!keep(log, job, procs)) continue;
    if (*limit <= 0) ++log.dropped.noest;
    if (*limit > 0 && job.run > *limit) ++log.dropped.over;
    job.estimate = std::max(*limit, job.run);
    log.jobs.push_back(job);
  }
  if (auto some = check_not_empty(log, file, procs); !some) return std::unexpected(some.error());
  finish_log(log);
  return log;
}

Result<JobLog> parse_philly(std::string_view file, std::string_view text, std::int64_t gpus) {
  auto csv = Csv::open(file, text, {"timestamp", "duration", "num_gpus"});
  if (!csv) return std::unexpected(csv.error());
  const std::string_view owner = csv->has("user") ? "user" : "cluster";
  std::map<std::string, std::uint32_t, std::less<>> owners;
  JobLog log;
  for (;;) {
    const auto more = csv->next();
    if (!more) return std::unexpected(more.error());
    if (!*more) break;
    const auto submit = parse_time(csv->text("timestamp"));
    if (!submit || submit->at.ns < 0) {
      return fail_at(csv->place(), fmt::format("timestamp must be a time since 1970 such as "
                                               "2017-10-09 07:01:55, not \"{}\".",
                                               csv->text("timestamp")));
    }
    // Whole seconds: the fraction is cut off.
    const std::string_view duration = csv->text("duration");
    const auto dot = std::min(duration.find('.'), duration.size());
    const std::string_view fraction = duration.substr(std::min(dot + 1, duration.size()));
    const auto run =
        read_integer(csv->place(), "duration", duration.substr(0, dot), 0, kSecondsMax);
    if (!run || !std::ranges::all_of(fraction, [](char c) { return c >= '0' && c <= '9'; })) {
      return fail_at(csv->place(), fmt::format("duration must be seconds from 0 to {}, not \"{}\".",
                                               kSecondsMax, duration));
    }
    const auto procs = csv->integer("num_gpus", 0, kProcsMax);
    if (!procs) return std::unexpected(procs.error());
    Job job{.submit = submit->at.ns / seconds(1).ns, .run = *run, .procs = *procs};
    if (!keep(log, job, gpus)) continue;
    job.estimate = job.run;
    job.owner = owners.try_emplace(std::string(csv->text(owner)), owners.size()).first->second;
    log.jobs.push_back(job);
  }
  if (auto some = check_not_empty(log, file, gpus); !some) return std::unexpected(some.error());
  finish_log(log);
  return log;
}

std::string log_name(std::string_view path) {
  std::string stem = stem_of(path);
  const auto is_digit = [&](std::size_t at) {
    return at < stem.size() && std::isdigit(static_cast<unsigned char>(stem[at])) != 0;
  };
  for (auto dash = stem.find('-'); dash != stem.npos; dash = stem.find('-', dash + 1)) {
    const bool century =
        stem.compare(dash + 1, 2, "19") == 0 || stem.compare(dash + 1, 2, "20") == 0;
    const bool year = century && is_digit(dash + 3) && is_digit(dash + 4) && !is_digit(dash + 5);
    if (year && dash > 0) return stem.substr(0, dash);
  }
  return stem;
}

}  // namespace bai::sim
