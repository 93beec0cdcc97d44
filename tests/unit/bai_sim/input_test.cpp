// Inputs of the simulator: what is read, and what is said about what cannot be.
#include <doctest/doctest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "sim/job_log.hpp"
#include "sim/openb.hpp"
#include "sim/text_input.hpp"

using namespace bai;
using namespace bai::sim;

namespace {

std::string scratch(const std::string& name) {
  return (std::filesystem::temp_directory_path() / (name + std::to_string(getpid()))).string();
}

std::string job_line(const std::string& submit, const std::string& run, const std::string& procs,
                     const std::string& requested, const std::string& limit) {
  return "1 " + submit + " -1 " + run + " " + procs + " -1 -1 " + requested + " " + limit +
         " -1 1 1 1 -1 -1 -1 -1 -1\n";
}

std::string swf_error(const std::string& text) {
  const auto log = parse_swf("jobs.swf", text, 8);
  REQUIRE_FALSE(log.has_value());
  CHECK(log.error().code == ErrorCode::InvalidArgument);
  return log.error().message;
}

}  // namespace

TEST_CASE("a file is read as it is, or unpacked when it is gzip, whatever its name") {
  const std::string path = scratch("bai_sim_input");
  const std::string text(3'000'000, 'x');
  std::ofstream(path) << text;
  CHECK(read_input(path).value() == text);
  gzFile packed = gzopen(path.c_str(), "wb");
  gzwrite(packed, text.data(), static_cast<unsigned>(text.size()));
  gzclose(packed);
  CHECK(std::filesystem::file_size(path) < 100'000);
  CHECK(read_input(path).value() == text);

  gzFile more = gzopen(path.c_str(), "ab");  // a second member
  gzwrite(more, "and more", 8);
  gzclose(more);
  CHECK(read_input(path).value() == text + "and more");
  std::ofstream(path, std::ios::app) << "rubbish";
  const auto trailing = read_input(path);
  REQUIRE_FALSE(trailing.has_value());
  CHECK(trailing.error().code == ErrorCode::InvalidArgument);
  CHECK(trailing.error().message.find("7 bytes that are not compressed") != std::string::npos);

  std::filesystem::resize_file(path, 2000);
  const auto cut = read_input(path);
  REQUIRE_FALSE(cut.has_value());
  CHECK(cut.error().message.find(path) != std::string::npos);
  CHECK(cut.error().message.find("ends too early") != std::string::npos);
  std::ofstream(path, std::ios::binary) << std::string("\x1f\x8b\x08\0\0\0\0\0\0\3zzzz", 14);
  CHECK_FALSE(read_input(path).has_value());
  std::filesystem::remove(path);
  const auto missing = read_input(path);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code == ErrorCode::NotFound);
  CHECK(missing.error().message.find("No such file") != std::string::npos);
  CHECK_FALSE(read_input("/").has_value());
}

TEST_CASE("logs are named after their files") {
  CHECK(stem_of("/a/b.c/list.seed42.txt.gz") == "list.seed42");
  CHECK(log_name("x/KTH-SP2-1996-2.1-cln.swf.gz") == "KTH-SP2");
  CHECK(log_name("lublin_256.swf") == "lublin_256");
  CHECK(log_name("a-20.swf") == "a-20");
}

TEST_CASE("rows of a log that cannot run are left out, and counted") {
  const std::string text =
      "; a comment\n\n" + job_line("5", "10", "0", "-1", "20") +
      job_line("6", "-1", "2", "2", "20") + job_line("7", "10", "9", "9", "20") +
      job_line("9", "30", "-1", "3", "20") + job_line("8", "0", "2", "4", "-1");
  const auto log = parse_swf("jobs.swf", text, 8);
  REQUIRE(log.has_value());
  CHECK(log->dropped.noprocs == 1);
  CHECK(log->dropped.norun == 1);
  CHECK(log->dropped.toobig == 1);
  CHECK(log->dropped.run0 == 1);
  CHECK(log->dropped.over == 1);
  CHECK(log->dropped.noest == 1);
  REQUIRE(log->jobs.size() == 2);
  CHECK(log->jobs[0].submit == 8);  // by submit
  CHECK(log->jobs[0].run == 1);
  CHECK(log->jobs[0].estimate == 1);
  CHECK(log->jobs[0].procs == 2);
  CHECK(log->jobs[1].procs == 3);      // as requested where the allocation is unknown
  CHECK(log->jobs[1].estimate == 30);  // not less than it ran
}

TEST_CASE("jobs belong to users, or to virtual clusters") {
  std::string text;
  for (const char* user : {"7", "-1", "7", "0"}) {
    text += "1 5 -1 10 1 -1 -1 1 20 -1 1 " + std::string(user) + " 1 -1 -1 -1 -1 -1\n";
  }
  const auto log = parse_swf("jobs.swf", text, 8).value();
  CHECK(log.jobs[0].owner == log.jobs[2].owner);
  CHECK(log.jobs[0].owner != log.jobs[1].owner);
  CHECK(log.jobs[0].owner != log.jobs[3].owner);
  CHECK(log.jobs[1].owner != log.jobs[3].owner);
  const auto philly = [](const std::string& columns, const std::string& rest) {
    std::string csv = "timestamp,duration,num_gpus," + columns + "\n";
    for (const char* cluster : {"b", "a", "b"}) {
      csv += "2017-10-09 07:01:55,66,1," + std::string(cluster) + rest + "\n";
    }
    return parse_philly("p.csv", csv, 4).value().jobs;
  };
  const auto by_cluster = philly("cluster", "");
  CHECK(by_cluster[0].owner == by_cluster[2].owner);
  CHECK(by_cluster[0].owner != by_cluster[1].owner);
  const auto by_user = philly("cluster,user", ",ada");
  CHECK(by_user[0].owner == by_user[1].owner);
}

TEST_CASE("errors in a log name file, line and field") {
  CHECK(swf_error("; c\n1 2 3\n") ==
        "jobs.swf:2: has 3 fields; a job of the Standard Workload Format has 18.");
  CHECK(swf_error(job_line("-1", "1", "1", "1", "1")).starts_with("jobs.swf:1: field 2 (submit"));
  CHECK(
      swf_error(job_line("1", "-2", "1", "1", "1")).starts_with("jobs.swf:1: field 4 (run time)"));
  CHECK(swf_error(job_line("1", "1", "x", "1", "1")).find("not \"x\"") != std::string::npos);
  CHECK(swf_error(job_line("1", "1", "1", "-5", "1")).find("field 8") != std::string::npos);
  CHECK(swf_error(job_line("1", "1", "1", "1", "4000000001")).find("field 9") != std::string::npos);
  CHECK(swf_error("1 5 -1 10 1 -1 -1 1 20 -1 1 x 1 -1 -1 -1 -1 -1\n").find("field 12 (user)") !=
        std::string::npos);
  CHECK(swf_error(job_line("1", "1", "9", "9", "1")) ==
        "jobs.swf: holds no job that runs on 8 processors.");
}

TEST_CASE("a Philly log: whole seconds, ordered by submit") {
  const auto log = parse_philly("p.csv",
                                "timestamp,duration,num_gpus,gpu_time,cluster\r\n"
                                "2017-10-09 07:01:55,66.9,1,66.9,a\r\n"
                                "2017-10-09 07:01:50,0.4,2,0.8,a\r\n",
                                4);
  REQUIRE(log.has_value());
  REQUIRE(log->jobs.size() == 2);
  CHECK(log->jobs[1].submit - log->jobs[0].submit == 5);
  CHECK(log->jobs[0].run == 1);
  CHECK(log->jobs[1].run == 66);
  CHECK(log->jobs[1].estimate == 66);
  CHECK(log->dropped.run0 == 1);

  const auto error = [](const std::string& text) {
    const auto parsed = parse_philly("p.csv", text, 4);
    REQUIRE_FALSE(parsed.has_value());
    return parsed.error().message;
  };
  CHECK(error("") == "p.csv:1: the file is empty; its first line must name the columns.");
  CHECK(error("timestamp,num_gpus\n").find("no column \"duration\"") != std::string::npos);
  CHECK(error("timestamp,duration,num_gpus\nx,1,1\n").starts_with("p.csv:2: timestamp"));
  CHECK(error("timestamp,duration,num_gpus\n2017-10-09 07:01:55,1.x,1\n").starts_with("p.csv:2:"));
  CHECK(error("timestamp,duration,num_gpus\n2017-10-09 07:01:55,-1,1\n").starts_with("p.csv:2:"));
  CHECK(error("timestamp,duration,num_gpus\n2017-10-09 07:01:55,1,-1\n").starts_with("p.csv:2:"));
  CHECK(error("timestamp,duration,num_gpus\n2017-10-09 07:01:55,1\n") ==
        "p.csv:2: has 2 values; the first line names 3 columns.");
}

TEST_CASE("errors in the openb lists name file and line") {
  const auto nodes = [](const std::string& text) { return parse_nodes("n.csv", text); };
  const auto pods = [](const std::string& text) { return parse_pods("p.csv", text); };
  CHECK(nodes("cpu_milli,memory_mib,model\n").error().message.find("no column \"gpu\"") !=
        std::string::npos);
  CHECK(nodes("cpu_milli,memory_mib,gpu,model\n").error().message == "n.csv: has no rows.");
  CHECK(nodes("cpu_milli,memory_mib,gpu,model\n1,1,33,x\n").error().message.starts_with("n.csv:2"));
  const std::string head = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
  CHECK(pods(head + "a,-1,1,1,1000\n").error().message.starts_with("p.csv:2: cpu_milli must be"));
  CHECK(pods(head + "a,1,1,1,1001\n").error().message.starts_with("p.csv:2: gpu_milli"));
  CHECK(pods(head + "a,1,1,2,500\n").error().message.find("must be 1000 when") !=
        std::string::npos);
  CHECK(pods(head + "a,1,1,1,0\n").error().message.starts_with("p.csv:2"));
  CHECK(pods(head + "a,1,1,2,1000\n").value()[0].demand() == 2000);

  OpenbTrace trace;
  trace.nodes.resize(2);
  trace.pods.resize(3);
  const auto error = [&](const std::string& text) {
    const auto read = parse_stream("s.txt", text, trace);
    REQUIRE_FALSE(read.has_value());
    return read.error().message;
  };
  CHECK(parse_stream("s.txt", "# nodes\n1 0\n# pods\n2 2 0\n", trace).has_value());
  CHECK(trace.arrivals == std::vector<std::uint32_t>{2, 2, 0});
  CHECK(error("1 0\n") == "s.txt:1: must be \"# nodes\".");
  CHECK(error("# nodes\n1 1\n# pods\n0\n") == "s.txt:2: must name each of the 2 nodes once.");
  CHECK(error("# nodes\n1\n# pods\n0\n") == "s.txt:2: must name each of the 2 nodes once.");
  CHECK(error("# nodes\n1 0\n# pods\n3\n").starts_with("s.txt:4: a row must be"));
  CHECK(error("# nodes\n1 0\n# pods\n\n") == "s.txt:4: names no row.");
  CHECK(error("# nodes\n1 0\n").starts_with("s.txt:2: must be \"# pods\""));
}
