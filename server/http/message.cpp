#include "http/message.hpp"

#include "http/text.hpp"

namespace bai::http {

const std::string* Headers::find(std::string_view name) const noexcept {
  for (const Header& header : list_) {
    if (iequals(header.name, name)) return &header.value;
  }
  return nullptr;
}

std::string_view Headers::get(std::string_view name, std::string_view fallback) const noexcept {
  const std::string* value = find(name);
  return value ? std::string_view(*value) : fallback;
}

std::size_t Headers::count(std::string_view name) const noexcept {
  std::size_t n = 0;
  for (const Header& header : list_) n += iequals(header.name, name) ? 1 : 0;
  return n;
}

bool Headers::has_token(std::string_view name, std::string_view token) const noexcept {
  for (const Header& header : list_) {
    if (!iequals(header.name, name)) continue;
    std::string_view rest = header.value;
    while (!rest.empty()) {
      const auto comma = rest.find(',');
      if (iequals(trim(rest.substr(0, comma)), token)) return true;
      rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    }
  }
  return false;
}

void Headers::add(std::string name, std::string value) {
  list_.push_back({std::move(name), std::move(value)});
}

void Headers::set(std::string name, std::string value) {
  remove(name);
  add(std::move(name), std::move(value));
}

void Headers::remove(std::string_view name) {
  std::erase_if(list_, [&](const Header& header) { return iequals(header.name, name); });
}

const std::string* Query::find(std::string_view name) const noexcept {
  for (const auto& [key, value] : list_) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string_view Query::get(std::string_view name, std::string_view fallback) const noexcept {
  const std::string* value = find(name);
  return value ? std::string_view(*value) : fallback;
}

std::vector<std::string_view> Query::all(std::string_view name) const {
  std::vector<std::string_view> out;
  for (const auto& [key, value] : list_) {
    if (key == name) out.push_back(value);
  }
  return out;
}

void Query::add(std::string name, std::string value) {
  list_.emplace_back(std::move(name), std::move(value));
}

}  // namespace bai::http
