// The person at the keyboard: what is typed, and what is said while waiting.
#pragma once

#include <string>
#include <string_view>

namespace bai::ctl {

// One line of standard input without its end; not shown while it is typed when `hidden`.
std::string read_line(bool hidden);

// One line on standard error that says what is being waited for: rewritten in place on a terminal,
// elsewhere a new line for every change.
class Progress {
 public:
  void say(std::string_view text);
  void clear();

 private:
  std::string last_;
};

}  // namespace bai::ctl
