// Curves, drawn by gnuplot as a child process.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai::sim {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
};

struct Panel {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_x = false;
  std::string key;     // where the names of the series are: "bottom right"; empty: nowhere
  bool steps = false;  // each point is the mean of the time around it
  double log_y = 0;    // where a logarithmic axis begins, less is drawn there; 0: linear from 0
};

struct Figure {
  std::string title;
  std::vector<Panel> panels;  // two in a row
};

// Whether a figure can be drawn to `path` (.png or .svg): for before a long run.
Status check_plot(const std::string& path);

// What gnuplot gets to read.
std::string plot_script(const Figure& figure, const std::string& path);

Status draw(const Figure& figure, const std::string& path);

}  // namespace bai::sim
