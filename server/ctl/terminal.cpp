#include "ctl/terminal.hpp"

#include <fmt/format.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

namespace bai::ctl {

std::string read_line(bool hidden) {
  termios before{};
  const bool terminal = hidden && tcgetattr(STDIN_FILENO, &before) == 0;
  if (terminal) {
    termios silent = before;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &silent);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) {
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    std::fputc('\n', stderr);
  }
  return line;
}

void Progress::say(std::string_view text) {
  if (text == last_) return;
  last_ = text;
  if (isatty(STDERR_FILENO) != 0) {
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "{}\n", text);
  }
}

void Progress::clear() {
  if (!last_.empty() && isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
  last_.clear();
}

}  // namespace bai::ctl
