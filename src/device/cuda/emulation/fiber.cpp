// SPDX-License-Identifier: Apache-2.0
#include "device/cuda/emulation/fiber.h"

#include <sys/mman.h>

#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(char const* file, int line);
void AnnotateIgnoreReadsEnd(char const* file, int line);
void AnnotateIgnoreWritesBegin(char const* file, int line);
void AnnotateIgnoreWritesEnd(char const* file, int line);
}
#endif

// To TSan the members of a fiber belong to no thread.
#define SELVAGE_UNOBSERVED __attribute__((no_sanitize_thread))

namespace selvage::emulation {
namespace {

constexpr std::size_t page = 4096;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t stack_bytes = 64 * page;
#else
constexpr std::size_t stack_bytes = 16 * page;
#endif

}  // namespace

Fiber::Fiber() {
    void* const memory =
        mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<std::byte*>(memory);
    mprotect(stack_, page, PROT_NONE);
}

Fiber::~Fiber() {
#ifdef __SANITIZE_THREAD__
    if (thread_state_ != nullptr) __tsan_destroy_fiber(thread_state_);
#endif
#ifdef __SANITIZE_ADDRESS__
    // Whoever is given the addresses next, a thread's own variables say, is not told of frames that were there.
    __asan_unpoison_memory_region(stack_ + page, stack_bytes - page);
#endif
    munmap(stack_, stack_bytes);
}

SELVAGE_UNOBSERVED void Fiber::start(void (*body)(void*), void* argument) {
    body_ = body;
    argument_ = argument;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(stack_ + page, stack_bytes - page);
#endif
#ifdef __SANITIZE_THREAD__
    // One that was left in the middle has a call stack of its own still.
    if (thread_state_ != nullptr && !ended_) {
        __tsan_destroy_fiber(thread_state_);
        thread_state_ = nullptr;
    }
    if (thread_state_ == nullptr) thread_state_ = __tsan_create_fiber(0);
#endif
    ended_ = false;
    context_ = boost::context::detail::make_fcontext(stack_ + stack_bytes, stack_bytes - page, enter);
}

SELVAGE_UNOBSERVED void Fiber::resume() {
#ifdef __SANITIZE_ADDRESS__
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, stack_ + page, stack_bytes - page);
#endif
#ifdef __SANITIZE_THREAD__
    caller_thread_state_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(thread_state_, __tsan_switch_to_fiber_no_sync);
#endif
    context_ = boost::context::detail::jump_fcontext(context_, this).fctx;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

SELVAGE_UNOBSERVED void Fiber::leave([[maybe_unused]] bool for_good) {
#ifdef __SANITIZE_ADDRESS__
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, caller_stack_, caller_stack_bytes_);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(caller_thread_state_, __tsan_switch_to_fiber_no_sync);
#endif
    caller_ = boost::context::detail::jump_fcontext(caller_, nullptr).fctx;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_stack, &caller_stack_, &caller_stack_bytes_);
#endif
}

SELVAGE_UNOBSERVED void Fiber::pause() { leave(false); }

SELVAGE_UNOBSERVED void Fiber::enter(boost::context::detail::transfer_t from) {
    auto& fiber = *static_cast<Fiber*>(from.data);
    fiber.caller_ = from.fctx;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &fiber.caller_stack_, &fiber.caller_stack_bytes_);
#endif
    fiber.body_(fiber.argument_);
    fiber.ended_ = true;
    fiber.leave(true);
}

#ifdef __SANITIZE_THREAD__
void publish(char* token) { __tsan_release(token); }
void observe(char* token) { __tsan_acquire(token); }
Unobserved::Unobserved() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
Unobserved::~Unobserved() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
void publish(char*) {}
void observe(char*) {}
Unobserved::Unobserved() {}
Unobserved::~Unobserved() {}
#endif

}  // namespace selvage::emulation
