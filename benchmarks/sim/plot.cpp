#include "sim/plot.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace bai::sim {

namespace {

constexpr const char* kProgram = "gnuplot";
constexpr int kWidth = 1200, kPanelHeight = 420;

bool is_installed(std::string_view program) {
  const char* path = std::getenv("PATH");
  std::string_view folders = path != nullptr ? path : "";
  while (!folders.empty()) {
    const auto colon = folders.find(':');
    const std::string file = fmt::format("{}/{}", folders.substr(0, colon), program);
    if (access(file.c_str(), X_OK) == 0) return true;
    folders.remove_prefix(colon == folders.npos ? folders.size() : colon + 1);
  }
  return false;
}

// A text that gnuplot takes literally.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\n') continue;
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

void add_panel(std::string& out, const Panel& panel, std::size_t at) {
  const auto line = std::back_inserter(out);
  for (std::size_t i = 0; i < panel.series.size(); ++i) {
    fmt::format_to(line, "$d{}_{} << EOD\n", at, i);
    for (const auto& [x, y] : panel.series[i].points) {
      fmt::format_to(line, "{} {}\n", x, std::max(y, panel.log_y));
    }
    out += "EOD\n";
  }
  fmt::format_to(line,
                 "set title {} noenhanced\nset xlabel {} noenhanced\nset ylabel {} noenhanced\n",
                 quoted(panel.title), quoted(panel.x_label), quoted(panel.y_label));
  fmt::format_to(line, "{} logscale x\n{} logscale y\nset yrange [{}:*]\n",
                 panel.log_x ? "set" : "unset", panel.log_y > 0 ? "set" : "unset", panel.log_y);
  if (panel.key.empty()) {
    out += "unset key\n";
  } else {
    fmt::format_to(line, "set key {} noenhanced box opaque width 1\n", panel.key);
  }
  out += "plot ";
  for (std::size_t i = 0; i < panel.series.size(); ++i) {
    // The later the thinner: where curves are one, each is seen beside those above it.
    const double width = std::min(6.0, 1.5 + static_cast<double>(panel.series.size() - 1 - i));
    fmt::format_to(line, "{}$d{}_{} using 1:2 with {} linewidth {:.1f} linetype {} title {}",
                   i > 0 ? ", " : "", at, i, panel.steps ? "histeps" : "lines", width, i + 1,
                   quoted(panel.series[i].name));
  }
  out += '\n';
}

}  // namespace

Status check_plot(const std::string& path) {
  if (!path.ends_with(".png") && !path.ends_with(".svg")) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("{}: a plot's name must end with .png or .svg.", path));
  }
  if (!is_installed(kProgram)) {
    return fail(ErrorCode::Unavailable,
                fmt::format("Plots are drawn by {}, which is not installed (Debian's package is "
                            "gnuplot-nox).",
                            kProgram));
  }
  // Where gnuplot cannot write it draws to standard output.
  const bool is_new = access(path.c_str(), F_OK) != 0;
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr) {
    return fail(ErrorCode::InvalidArgument,
                fmt::format("{}: cannot be written: {}.", path, std::strerror(errno)));
  }
  std::fclose(file);
  if (is_new) unlink(path.c_str());
  return {};
}

std::string plot_script(const Figure& figure, const std::string& path) {
  std::string out;
  const auto line = std::back_inserter(out);
  const std::size_t rows = (figure.panels.size() + 1) / 2;
  const std::size_t columns = figure.panels.size() > 1 ? 2 : 1;
  fmt::format_to(line, "set terminal {} size {},{} background rgb 'white' font 'Sans,11'\n",
                 path.ends_with(".svg") ? "svg" : "pngcairo", kWidth,
                 kPanelHeight * static_cast<int>(rows));
  fmt::format_to(line, "set output {}\nset colorsequence podo\nset grid\n", quoted(path));
  fmt::format_to(line, "set multiplot layout {},{} title {} noenhanced font 'Sans,14'\n", rows,
                 columns, quoted(figure.title));
  for (std::size_t i = 0; i < figure.panels.size(); ++i) add_panel(out, figure.panels[i], i);
  out += "unset multiplot\nset output\n";
  return out;
}

Status draw(const Figure& figure, const std::string& path) {
  if (auto can = check_plot(path); !can) return can;
  const std::string script = plot_script(figure, path);
  const auto old = std::signal(SIGPIPE, SIG_IGN);  // should gnuplot end early
  std::FILE* pipe = popen(kProgram, "w");
  const bool written =
      pipe != nullptr && std::fwrite(script.data(), 1, script.size(), pipe) == script.size();
  const int status = pipe != nullptr ? pclose(pipe) : -1;
  std::signal(SIGPIPE, old);
  struct stat file{};
  const bool drawn = stat(path.c_str(), &file) == 0 && file.st_size > 0;
  if (written && WIFEXITED(status) && WEXITSTATUS(status) == 0 && drawn) return {};
  return fail(ErrorCode::Unavailable,
              fmt::format("{}: {} could not draw it; its messages are above.", path, kProgram));
}

}  // namespace bai::sim
