// SPDX-License-Identifier: Apache-2.0
#pragma once
// A fiber with its stack, and what the sanitizers have to know of it.
#include <boost/context/detail/fcontext.hpp>

#include <cstddef>

namespace selvage::emulation {

// The stack and the sanitizers' state are kept from one run to the next.
class Fiber {
  public:
    Fiber();
    Fiber(Fiber const&) = delete;
    Fiber& operator=(Fiber const&) = delete;
    ~Fiber();

    // Starts anew: the next resume() calls body(argument). What ran here before is forgotten.
    void start(void (*body)(void*), void* argument);
    // From the thread's own stack: runs the fiber until it calls pause() or its body ends.
    void resume();
    // From the fiber.
    void pause();

  private:
    static void enter(boost::context::detail::transfer_t from);
    void leave(bool for_good);

    std::byte* stack_ = nullptr;  // its first page may not be touched
    boost::context::detail::fcontext_t context_ = nullptr;
    boost::context::detail::fcontext_t caller_ = nullptr;
    void (*body_)(void*) = nullptr;
    void* argument_ = nullptr;
    bool ended_ = true;
    void* thread_state_ = nullptr;         // of TSan
    void* caller_thread_state_ = nullptr;  // of TSan
    void const* caller_stack_ = nullptr;   // for ASan
    std::size_t caller_stack_bytes_ = 0;   // for ASan
};

// What happens before what, for TSan; nothing elsewhere.
void publish(char* token);
void observe(char* token);

// While one of these lives, TSan does not look at this fiber's accesses: the emulator's own are no part of the kernel.
class Unobserved {
  public:
    Unobserved();
    ~Unobserved();
    Unobserved(Unobserved const&) = delete;
    Unobserved& operator=(Unobserved const&) = delete;
};

}  // namespace selvage::emulation
