// The program itself: what it prints and how it ends.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "bai_manager/json.hpp"

using namespace bai;

namespace {

const std::string kData = std::string(BAI_SOURCE_DIR) + "/tests/unit/bai_sim/data/";

struct Ended {
  int status = -1;
  std::string output;  // both streams
};

Ended bai_sim(const std::string& arguments, bool with_errors = true) {
  const std::string command =
      std::string(BAI_BIN_DIR) + "/bai-sim " + arguments + (with_errors ? " 2>&1" : " 2>/dev/null");
  Ended ended;
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    ended.output.append(buffer, got);
  }
  const int status = pclose(pipe);
  ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

void check_refused(const std::string& arguments, std::string_view says) {
  CAPTURE(arguments);
  const Ended ended = bai_sim(arguments);
  CHECK(ended.status == 2);
  CAPTURE(ended.output);
  CHECK(ended.output.find(says) != std::string::npos);
}

}  // namespace

TEST_CASE("one policy gives an object, several a list or a table") {
  const std::string log = "swf --procs 4 --log " + kData + "six_jobs.swf --policy ";
  const Ended one = bai_sim(log + "FCFS --json", false);
  REQUIRE(one.status == 0);
  CHECK(Json::parse(one.output).value()["fnv64"] == Json("085ced3b6e300d92"));
  CHECK(Json::parse(one.output).value()["log"] == Json("six_jobs"));
  const Ended two = bai_sim(log + "FCFS,SJF --json --name x", false);
  REQUIRE(two.status == 0);
  const Json list = Json::parse(two.output).value();
  REQUIRE(list.size() == 2);
  CHECK(list.items()[1]["policy"] == Json("SJF"));
  CHECK(list.items()[1]["log"] == Json("x"));
  const Ended shown = bai_sim(log + "FCFS,SJF", false);
  CHECK(shown.output.find("085ced3b6e300d92") != std::string::npos);
  CHECK(shown.output.find("mean wait s") != std::string::npos);
}

TEST_CASE("the openb trace by its files") {
  const Ended ended =
      bai_sim("openb --json --policy FirstFit --nodes " + kData + "nodes.csv --pods " + kData +
                  "pods.csv --stream " + kData + "pods.seed7.txt",
              false);
  REQUIRE(ended.status == 0);
  CHECK(Json::parse(ended.output).value()["fnv64"] == Json("892c0c6ee6c04085"));
  CHECK(Json::parse(ended.output).value()["seed"] == Json(7));
}

TEST_CASE("a stream without a seed in its name will do where nothing is drawn") {
  const std::string stream = std::filesystem::temp_directory_path() /
                             ("bai_sim_stream" + std::to_string(getpid()) + ".txt");
  std::filesystem::copy_file(kData + "pods.seed7.txt", stream,
                             std::filesystem::copy_options::overwrite_existing);
  const std::string files =
      " --nodes " + kData + "nodes.csv --pods " + kData + "pods.csv --stream " + stream;
  const Ended ended = bai_sim("openb --json --policy FirstFit" + files, false);
  check_refused("openb --json --policy FirstFit,Random" + files, "which Random draws from");
  const Ended drawn = bai_sim("openb --json --policy Random --seed 7" + files, false);
  std::filesystem::remove(stream);
  REQUIRE(ended.status == 0);
  CHECK(Json::parse(ended.output).value()["fnv64"] == Json("892c0c6ee6c04085"));
  CHECK(Json::parse(ended.output).value()["seed"].is_null());
  REQUIRE(drawn.status == 0);
  CHECK(Json::parse(drawn.output).value()["seed"] == Json(7));
}

TEST_CASE("generated work by numbers") {
  const std::string arguments = "synthetic --agents 5 --sessions 50 --seed 3 --json --policy FCFS";
  const Ended first = bai_sim(arguments, false);
  REQUIRE(first.status == 0);
  CHECK(Json::parse(first.output).value()["jobs"] == Json(50));
  CHECK(first.output == bai_sim(arguments, false).output);
}

TEST_CASE("generated work needs no policy to be named") {
  const Ended shown = bai_sim("synthetic --agents 5 --sessions 50 --seed 3", false);
  REQUIRE(shown.status == 0);
  CHECK(shown.output.find("FCFS") != std::string::npos);
  const Ended json = bai_sim("synthetic --agents 5 --sessions 50 --seed 3 --json", false);
  CHECK(json.output ==
        bai_sim("synthetic --agents 5 --sessions 50 --seed 3 --json --policy FCFS", false).output);
}

TEST_CASE("a log's users share fairly under DRF") {
  const Ended ended = bai_sim(
      "swf --procs 16 --json --policy FCFS,DRF --log " + kData + "small/swf/small.swf", false);
  REQUIRE(ended.status == 0);
  const Json runs = Json::parse(ended.output).value();
  CHECK(runs.items()[0]["fnv64"] != runs.items()[1]["fnv64"]);
}

TEST_CASE("how many are promised a start can be said") {
  const std::string log =
      "swf --procs 16 --json --policy Conservative --log " + kData + "small/swf/small.swf";
  const std::string all = bai_sim(log, false).output;
  CHECK(all == bai_sim(log + " --backfill-depth 10000", false).output);
  CHECK(all != bai_sim(log + " --backfill-depth 1", false).output);
  check_refused(log + " --backfill-depth 0", "--backfill-depth");
  CHECK(bai_sim("swf --help").output.find("--backfill-depth") != std::string::npos);
}

TEST_CASE("what was measured is printed even if it cannot be drawn") {
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("bai_sim_bin" + std::to_string(getpid())))
          .string();
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/gnuplot") << "#!/bin/sh\ncat >/dev/null\nexit 3\n";
  std::filesystem::permissions(folder + "/gnuplot", std::filesystem::perms::owner_all);
  const std::string path = std::getenv("PATH");
  setenv("PATH", (folder + ":" + path).c_str(), 1);
  const Ended ended = bai_sim("swf --procs 4 --policy FCFS --log " + kData +
                              "six_jobs.swf --plot " + folder + "/x.svg");
  setenv("PATH", path.c_str(), 1);
  std::filesystem::remove_all(folder);
  CHECK(ended.status == 1);
  CHECK(ended.output.find("085ced3b6e300d92") != std::string::npos);
  CHECK(ended.output.find("could not draw it") != std::string::npos);
}

TEST_CASE("bad input ends with status 2 and says what is wrong") {
  const std::string log = "--log " + kData + "six_jobs.swf";
  check_refused("swf --procs 4 --policy FCFS --log /nonexistent", "/nonexistent: cannot be opened");
  check_refused("swf --procs 0 --policy FCFS " + log, "--procs");
  check_refused("swf --procs -3 --policy FCFS " + log, "--procs");
  check_refused("swf --procs 4 --policy FCFS,Nonsense " + log, "no policy \"Nonsense\"");
  check_refused("swf --procs 4 " + log, "--policy is required");
  check_refused("swf --procs 4 --policy FCFS --log " + kData + "pods.csv", "pods.csv:1: ");
  check_refused("philly --gpus 4 --policy FCFS --log " + kData + "pods.csv",
                "no column \"timestamp\"");
  check_refused("swf --procs 4 --policy FCFS --plot x.pdf " + log, ".png or .svg");
  for (const char* names : {"FCFS,,EASY", "FCFS,", ",FCFS", "\"\""}) {
    check_refused("swf --procs 4 " + log + " --policy " + names, "a name is empty");
  }
  for (const char* load : {"nan", "inf", "0", "101", "much"}) {
    check_refused("synthetic --agents 5 --sessions 5 --load " + std::string(load), "--load");
  }
  check_refused("synthetic --agents 0 --sessions 5 --policy FCFS", "--agents");
  check_refused("synthetic --agents 5 --sessions 5 --policy FCFS --selector best", "best");
  check_refused("openb --policy FirstFit --nodes " + kData + "pods.csv --pods " + kData +
                    "pods.csv --stream x",
                "x: cannot be opened");
  check_refused("openb --policy Nonsense --nodes a --pods b --stream c", "no policy \"Nonsense\"");
  check_refused("", "subcommand");
}
