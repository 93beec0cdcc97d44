// Tables, numbers, figures.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "sim/figures.hpp"
#include "sim/numbers.hpp"
#include "sim/plot.hpp"
#include "sim/report.hpp"
#include "sim/text_input.hpp"

using namespace bai;
using namespace bai::sim;

TEST_CASE("checksums and random numbers are the published ones") {
  Fnv64 hash;
  CHECK(hash.hex() == "cbf29ce484222325");
  hash.add(0x64636261);  // "abcd"
  CHECK(hash.hex() == "fc179f83ee0724dd");
  SplitMix64 random(1234567);
  CHECK(random.next() == 6457827717110365317ULL);
  CHECK(random.next() == 3203168211198807973ULL);
  CHECK(rounded(0.60625, 4) == 0.6062);  // half of an even digit: as Python rounds
  CHECK(rounded(390083.0307, 3) == 390083.031);
}

TEST_CASE("a table is aligned, with numbers to the right") {
  const std::vector<Json> rows = {Json::object({{"a", "xyz"}, {"b", 5}}),
                                  Json::object({{"a", "q"}, {"b", 1234.5}}),
                                  Json::object({{"a", "none"}})};
  CHECK(table({{"a", "name"}, {"b", "n"}}, rows) ==
        "name       n\n"
        "xyz        5\n"
        "q     1234.5\n"
        "none       -\n");
  CHECK(json_text({rows[0]}) == "{\"a\":\"xyz\",\"b\":5}\n");
  CHECK(Json::parse(json_text(rows)).value().size() == 3);
}

TEST_CASE("a figure becomes a script that takes every text literally") {
  Figure figure{"it's", {{"p", "x", "y", {{"a'b", {{1, 2}, {3, 4.5}}}}, true, "top left"}}};
  const std::string script = plot_script(figure, "o'ut.svg");
  const auto has = [&](std::string_view part) { return script.find(part) != std::string::npos; };
  CHECK(has("set terminal svg"));
  CHECK(has("set output 'o''ut.svg'"));
  CHECK(has("title 'it''s'"));
  CHECK(has("$d0_0 << EOD\n1 2\n3 4.5\nEOD\n"));
  CHECK(has("title 'a''b'"));
  CHECK(has("set logscale x"));
  CHECK(has("unset logscale y\nset yrange [0:*]"));
  CHECK(has("with lines"));
  CHECK(check_plot("x.pdf").error().message.find(".png or .svg") != std::string::npos);
}

TEST_CASE("a logarithmic axis begins above nothing, and means are steps") {
  Panel panel{"p", "x", "y", {{"a", {{1, 0}, {2, 50}}}, {"b", {{1, 3}}}}, false, ""};
  panel.log_y = 0.1;
  panel.steps = true;
  const std::string script = plot_script({"t", {panel}}, "out.svg");
  const auto has = [&](std::string_view part) { return script.find(part) != std::string::npos; };
  CHECK(has("set logscale y\nset yrange [0.1:*]"));
  CHECK(has("1 0.1\n2 50\n"));
  CHECK(has("with histeps linewidth 2.5 linetype 1"));
  CHECK(has("with histeps linewidth 1.5 linetype 2"));
}

TEST_CASE("without gnuplot there is a clear error") {
  const std::string path = std::getenv("PATH");
  setenv("PATH", "/nonexistent", 1);
  const auto can = check_plot("x.png");
  setenv("PATH", path.c_str(), 1);
  REQUIRE_FALSE(can.has_value());
  CHECK(can.error().message.find("gnuplot-nox") != std::string::npos);
}

TEST_CASE("curves over time keep the area below them") {
  JobLog log;
  log.jobs = {{.submit = 0, .run = 100, .estimate = 100, .procs = 2},
              {.submit = 50, .run = 100, .estimate = 100, .procs = 1}};
  BatchRun run;
  run.policy = "P";
  run.procs = 4;
  run.starts = {0, 50};
  run.samples = {{0, 2, 0}, {50, 3, 0}, {100, 1, 0}, {150, 0, 0}};
  const Figure figure = batch_figure(log, {run});
  REQUIRE(figure.panels.size() == 4);
  CHECK_FALSE(figure.panels[0].key.empty());
  CHECK(figure.panels[1].log_y > 0);  // queues of different policies differ by orders of magnitude
  double sum = 0;
  for (const auto& [x, y] : figure.panels[0].series[0].points) sum += y;
  const auto bins = static_cast<double>(figure.panels[0].series[0].points.size());
  // 300 of 600 processor seconds
  CHECK(sum / bins == doctest::Approx(50.0));

  const std::string path = (std::filesystem::temp_directory_path() / "bai_sim_plot.svg").string();
  std::filesystem::remove(path);
  const Status drawn = draw(figure, path);
  if (!check_plot(path)) {
    CHECK_FALSE(drawn.has_value());
    return;
  }
  REQUIRE(drawn.has_value());
  CHECK(read_input(path).value().find("</svg>") != std::string::npos);
  std::filesystem::remove(path);
  CHECK_FALSE(draw(figure, "/nonexistent/x.svg").has_value());
}
