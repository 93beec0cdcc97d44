// What all files of the module share.
#pragma once

#include <pybind11/pybind11.h>

#include <exception>
#include <string>
#include <utility>

#include "bai_manager/result.hpp"

namespace bai::python {

namespace py = pybind11;

// An error of the library on its way to Python, where it becomes the exception class of its code.
class Failure : public std::exception {
 public:
  explicit Failure(Error error) : error_(std::move(error)) {}
  Failure(ErrorCode code, std::string message, std::string kind = {})
      : error_{code, std::move(message), std::move(kind), {}} {}
  const char* what() const noexcept override { return error_.message.c_str(); }
  const Error& error() const noexcept { return error_; }

 private:
  Error error_;
};

template <class T>
T must(Result<T> result) {
  if (!result) throw Failure(std::move(result.error()));
  return std::move(*result);
}
inline void must(Status status) {
  if (!status) throw Failure(std::move(status.error()));
}

[[noreturn]] inline void invalid(std::string message) {
  throw Failure(ErrorCode::InvalidArgument, std::move(message));
}

// An instance of the exception class of `error`. Needs the GIL.
py::object make_exception(const Error& error);

// One function per file, called when the module is made.
void define_errors(py::module_& m);
void define_rows(py::module_& m);
void define_snapshot(py::module_& m);
void define_view(py::module_& m);
void define_engine(py::module_& m);

}  // namespace bai::python
